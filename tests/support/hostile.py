"""Files made to break their reader, each with the expected message."""

import os

COMPOSE = "services: {web: {image: a}}\n"


def bomb():
    """Return nine levels of nine aliases each: 3.5 * 10^8 values."""
    lines = ["  a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
    return "\n".join([COMPOSE, "x-bomb:", *lines, ""])


def merge_bomb():
    """Return mappings that include the one before twice, in lists of lists."""
    lines = ["  a0: &a0 {k: [x, x, x, x, x, x, x, x, x]}"]
    lines += [
        f"  a{level}: &a{level} {{<<: *a{level - 1}, l: [{', '.join([f'*a{level - 1}'] * 9)}]}}"
        for level in range(1, 10)
    ]
    return "\n".join([COMPOSE, "x-bomb:", *lines, ""])


TEXTS = {
    "an alias bomb": (bomb(), "aliases make the document grow without bounds"),
    "a bomb of merge keys": (merge_bomb(), "aliases make the document grow without bounds"),
    "an alias in itself": ("x: &x\n  y: *x\n", 'anchor "x" contains itself'),
    "deep lists": ("x: " + "[" * 10_000 + "]" * 10_000, "exceeded maximum nesting depth"),
    "deep mappings": ("x: " + "{a: " * 10_000 + "}" * 10_000, "nested more than 100 levels deep"),
    "deep blocks": ("\n".join(" " * depth + "a:" for depth in range(2_000)), "nested more than 100 levels deep"),
    "deep dashes": ("x: " + "- " * 10_000, "not valid YAML"),
    "deep variables": (f"services: {{web: {{image: '{'${A:-' * 10_000 + '}' * 10_000}'}}}}", "nested more than 50 levels deep"),
    "open variables": (f"services: {{web: {{image: '{'${A:-{' * 10_000}'}}}}", "a closing brace is missing"),
    "no UTF-8": (b"services: {web: {image: \xff\xfe}}\n", "the file is not UTF-8 text"),
    "NUL bytes": (b"services: {web: {image: a\0b}}\n", "not valid YAML"),
    "a program": (b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 16, "the file is not UTF-8 text"),
    "only NUL bytes": (b"\0" * 4096, "not valid YAML"),
    "many keys that are wrong": (
        COMPOSE + "x:\n" + "".join(f"  k{number}: &k{number} {{}}\n" for number in range(20_000)) + "y: *nothing\n",
        'unknown anchor "nothing"',
    ),
    "millions of values": ("x: [" + "a," * 8_000_000 + "]", "the file has more values than a Compose file needs"),
    "a number of a million digits": ("services: {web: {image: a, scale: " + "9" * 1_000_000 + "}}", "services.web.scale"),
    "an included file in itself": ("include: [compose.yaml]\n", "the file includes itself"),
    "services in a circle": ("services: {a: {extends: b}, b: {extends: c}, c: {extends: a}}\n", "extends itself"),
    "dependencies in a circle": (
        "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}\n",
        "dependency cycle",
    ),
}  # fmt: skip


def sparse(path):
    with open(path, "wb") as file:
        file.truncate(100 << 20)


def fifo(path):
    os.mkfifo(path)


def device(path):
    os.symlink("/dev/zero", path)


def folder(path):
    path.mkdir()


def itself(path):
    os.symlink(path.name, path)


ODD = {
    sparse: "more than 16 MiB",
    fifo: "not a regular file",
    device: "not a regular file",
    folder: "not a regular file",
    itself: "Too many levels of symbolic links",
}
USES = {
    "extends": "services: {web: {extends: {file: odd, service: a}}}",
    "include": "include: [odd]",
    "the env_file of an include": "include: [{path: good.yaml, env_file: odd}]",
    "env_file": "services: {web: {image: a, env_file: odd}}",
    "label_file": "services: {web: {image: a, label_file: odd}}",
}
