"""The arguments of a build: those there are without asking, and those that FROM lines see."""

from __future__ import annotations

from runtime.build import instructions as ins
from runtime.build.errors import DockerfileError
from runtime.build.expansion import expand
from runtime.build.graph import stage_number
from runtime.build.options import BuildOptions
from runtime.image.manifest import Platform

PROXY_NAMES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
PROXIES = tuple(name for stem in PROXY_NAMES for name in (stem.upper(), stem))
"""Arguments that RUN sees without ARG and that no cache key counts (Dockerfile reference, "Predefined ARGs")."""

EPOCH = "SOURCE_DATE_EPOCH"
SANDBOX_HOSTNAME = "BUILDKIT_SANDBOX_HOSTNAME"
"""Argument that names the host that RUN steps see."""
BUILTIN_PREFIX = "BUILDKIT_"
"""Arguments that speak to the builder, not to the Dockerfile (Dockerfile reference, "BuildKit built-in build args")."""


def target_platform(options: BuildOptions) -> Platform:
    """Return the platform that is built for. Raises BadRequestError for a malformed one."""
    return Platform.parse(options.platform) if options.platform else Platform.host()


def global_arguments(dockerfile: ins.Dockerfile, options: BuildOptions, used: set[str]) -> dict[str, str]:
    """Return the arguments that FROM lines see: the platforms' and those declared before the first FROM.

    The names of given ones are added to `used`. Raises DockerfileError.
    """
    arguments: dict[str, str] = {}
    for side, platform in (("BUILD", Platform.host()), ("TARGET", target_platform(options))):
        arguments |= {
            f"{side}PLATFORM": str(platform),
            f"{side}OS": platform.os,
            f"{side}ARCH": platform.architecture,
            f"{side}VARIANT": platform.variant,
        }
    arguments["TARGETSTAGE"] = dockerfile.stages[stage_number(dockerfile, options.target)].base.name or "default"
    for name in arguments:
        if (given := options.build_args.get(name)) is not None:
            arguments[name] = given
            used.add(name)
    for instruction in dockerfile.arguments:
        for name, default in instruction.arguments:
            if (given := options.build_args.get(name)) is not None:
                arguments[name] = given
                used.add(name)
            elif default is not None:
                try:
                    arguments[name] = expand(default, arguments, dockerfile.escape)
                except DockerfileError as error:
                    raise error.in_file(dockerfile.name, instruction.line) from None
    return arguments


def proxies(options: BuildOptions) -> dict[str, str]:
    """Return the proxies that RUN sees, in small and in capital letters whichever was given."""
    found = {}
    for stem in PROXY_NAMES:
        for given in (stem, stem.upper()):
            if value := options.build_args.get(given):
                found[stem.upper()] = found[stem] = value
    return found


def unused(options: BuildOptions, used: set[str]) -> list[str]:
    """Return the given arguments that no ARG took and that mean nothing by themselves."""
    named = set(options.build_args) - used - set(PROXIES) - {EPOCH}
    return sorted(name for name in named if not name.startswith(BUILTIN_PREFIX))


def epoch(options: BuildOptions) -> int | None:
    """Return the moment (seconds since 1970) that the image gets as its date, None for now. Raises DockerfileError."""
    written = options.build_args.get(EPOCH)
    if not written:
        return None
    if not written.isdigit():
        raise DockerfileError(f"invalid {EPOCH}: {written!r}", hint="it is a number of seconds since 1970")
    return int(written)
