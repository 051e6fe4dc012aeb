"""What encodes one value of the model: an encoder makes sure of its type and gives the form that is printed. Pure.

An encoder takes a value and returns its printed form, or None where the attribute is left out because it says nothing.
It raises ValueError for a value that the reference can't take either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from compose.loading.merging import Model
from compose.loading.values import (
    boolean,
    integer,
    number,
    shell_words,
    single,
    text_of,
)
from compose.units import duration_ns, duration_text, size_bytes

Encoder = Callable[[Any], Any]


class FieldError(ValueError):
    """A value that an encoder refused; `path` is its way from the encoded mapping."""

    def __init__(self, message: str, path: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.path = path


def encoded_fields(given: Any, fields: Mapping[str, Encoder]) -> Model:
    """Return the attributes of a mapping that `fields` knows, encoded, in the order of `fields`. Raises FieldError."""
    found: Model = {}
    for key in [key for key in fields if key in given]:
        value = given[key]
        if value is None:
            continue
        try:
            encoded = fields[key](value)
        except FieldError as error:
            raise FieldError(str(error), (key, *error.path)) from None
        except ValueError as error:
            raise FieldError(str(error), (key,)) from None
        except TypeError:
            raise FieldError(f"{text_of(value)} is of the wrong type", (key,)) from None
        if encoded is not None:
            found[key] = encoded
    return found


# --- mappings of attributes


def entries(fields: Mapping[str, Encoder]) -> Encoder:
    """Return the encoder of a list of mappings."""
    return lambda value: [encoded_fields(entry, fields) for entry in value or ()] or None


def mapping_of(fields: Mapping[str, Encoder], **defaults: Any) -> Encoder:
    """Return the encoder of a mapping, in which `defaults` stand where it has nothing else."""
    return lambda value: encoded_fields({**defaults, **value}, fields)


def named(fields: Mapping[str, Encoder], *, nothing: Any = None) -> Encoder:
    """Return the encoder of mappings by the names of what they are about; `nothing` stands for one that is empty."""

    def encode(value: Any) -> Any:
        pairs = sorted(value.items())
        return {key: nothing if each is None else encoded_fields(each, fields) for key, each in pairs} or None

    return encode


def texts(names: str) -> dict[str, Encoder]:
    """Return the fields of `names`, all of them texts."""
    return dict.fromkeys(names.split(), text)


# --- scalars


def text(value: Any) -> Any:
    """Encode a text; a whole number is taken for one."""
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{_shown(value)} is no text: quote it")
        return str(value)
    return value or None


def truth(value: Any) -> Any:
    """Encode a boolean that counts when it is false too."""
    return boolean(value) if isinstance(value, str) else value


def flag(value: Any) -> Any:
    """Encode a boolean that is left out when it is false."""
    return truth(value) or None


def whole(value: Any) -> Any:
    """Encode a whole number that counts when it is 0 too."""
    if isinstance(value, str):
        return integer(value)
    if isinstance(value, float):
        return int(value)  # the reference cuts fractions off
    return value


def count(value: Any) -> Any:
    """Encode a whole number that is left out when it is 0."""
    return whole(value) or None


def natural(value: Any) -> Any:
    """Encode a number from 0 on; the reference takes no text for one."""
    if isinstance(value, str) or value < 0:
        raise ValueError(f"{_shown(value)} is not a whole number from 0 on")
    return int(value)


def natural_count(value: Any) -> Any:
    """Encode a number from 0 on that is left out when it is 0."""
    return natural(value) or None


def share(value: Any) -> Any:
    """Encode a number as the reference keeps it, in single precision; whole ones without a fraction."""
    rounded = single(number(value) if isinstance(value, str) else value)
    if not isfinite(rounded):
        raise ValueError(f"{_shown(value)} is no number that can be counted with")
    return (int(rounded) if rounded.is_integer() else rounded) or None


def size(value: Any) -> Any:
    """Encode a byte size as a text that is left out when it is 0."""
    found = byte_count(value)
    return None if found == "0" else found


def byte_count(value: Any) -> Any:
    """Encode a byte size as a text that counts when it is 0 too."""
    # the reference takes a size with a fraction and no unit, written as a number, for none
    return "0" if isinstance(value, float) else str(size_bytes(value))


def duration(value: Any) -> Any:
    """Encode a duration that counts when it is 0 too."""
    return duration_text(duration_ns(value))


def delay(value: Any) -> Any:
    """Encode a duration that is left out when it is 0."""
    found = duration(value)
    return None if found == "0s" else found


def file_mode(value: Any) -> Any:
    """Encode a file's mode as an octal text."""
    if isinstance(value, str) and value and not set(value) - set("01234567"):
        value = int(value, 8)
    if not isinstance(value, int):
        raise ValueError(f"{_shown(value)} is not a file mode: write it as 0440")
    return f"0{value:o}"


def device_count(value: Any) -> Any:
    """Encode how many devices are asked for; "all" is -1."""
    return -1 if isinstance(value, str) and value.lower() == "all" else count(value)


def _shown(value: Any) -> str:
    return f'the text "{value}"' if isinstance(value, str) else text_of(value)


# --- lists and mappings of texts


def strings(value: Any) -> Any:
    """Encode a list of texts, or one text that stands for a list."""
    found = [value] if isinstance(value, str) else value or ()
    return [text(each) or "" for each in found] or None


def command(value: Any) -> Any:
    """Encode a command line or a list of words; an empty one counts."""
    return shell_words(value) if isinstance(value, str) else value


def health_test(value: Any) -> Any:
    """Encode the test of a health check; a text is a command of a shell."""
    return ["CMD-SHELL", value] if isinstance(value, str) else value or None


def mapping(value: Any) -> Any:
    """Encode a mapping of texts, or a list of KEY=VALUE."""
    if isinstance(value, list):
        return dict(sorted((key, item) for key, _, item in (str(each).partition("=") for each in value))) or None
    return {key: text_of(item) for key, item in sorted(value.items())} or None


def plain_mapping(value: Any) -> Any:
    """Encode a mapping whose values are texts already, or whole numbers."""
    return {key: "" if item is None else text(item) or "" for key, item in sorted(value.items())} or None


def with_equals(value: Any) -> Any:
    """Encode variables: a mapping, or a list of KEY=VALUE, in which a variable without a value is None."""
    if isinstance(value, list):
        pairs = (str(each).partition("=") for each in value)
        return dict(sorted((key, item if equals else None) for key, equals, item in pairs)) or None
    return {key: None if item is None else text_of(item) for key, item in sorted(value.items())} or None


def many_options(value: Any) -> Any:
    """Encode options that may have several values each: always as lists."""
    return {
        key: [text_of(each) for each in (item if isinstance(item, list) else [item])]
        for key, item in sorted(value.items())
    } or None


def hosts(value: Any) -> Any:
    """Encode host names with their addresses as a sorted list of host=address."""
    found: list[tuple[str, str]] = []
    for host, addresses in value.items() if isinstance(value, dict) else ():
        found += [(host, text_of(each)) for each in (addresses if isinstance(addresses, list) else [addresses])]
    for each in value if isinstance(value, list) else ():
        host, equals, addresses = each.partition("=")
        if not equals:
            host, equals, addresses = each.partition(":")
        if not equals:
            raise ValueError(f'"{each}" is no host and address: write it as host=address')
        found += [(host, address) for address in addresses.split(",")]
    for host, _ in found:
        if not host or ":" in host or "=" in host:
            raise ValueError(f'"{host}" is no name of a host')
    return sorted(f"{host}={_without_brackets(address)}" for host, address in found) or None


def _without_brackets(address: str) -> str:
    return address[1:-1] if len(address) > 2 and address[0] == "[" and address[-1] == "]" else address


def limits(value: Any) -> Any:
    """Encode ulimits: a number for both limits, or a mapping of the two."""
    found: Model = {}
    for name, limit in sorted(value.items()):
        if isinstance(limit, dict):
            found[name] = {key: whole(limit.get(key) or 0) for key in ("soft", "hard")}
        elif isinstance(limit, float):
            raise ValueError(f"{_shown(limit)} is not a whole number")
        else:
            found[name] = whole(limit) or {"soft": 0, "hard": 0}  # the reference can't distinguish the two
    return found or None


def ssh_keys(value: Any) -> Any:
    """Encode SSH agents and keys: `ID`, or `ID: PATH`."""
    return [f"{key}: {path}" if path else key for key, path in sorted(value.items())] or None
