"""`skiff`: the global flags, the commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer
import typer.main
from typer.core import TyperGroup

from compose.cli import commands
from compose.cli.context import Globals, read_standard_input
from compose.cli.flags import DRY_RUN, NO_EFFECT, normalize_flags
from compose.cli.on_demand import OnDemand
from compose.stack.source import ProjectSource
from runtime.errors import SkiffError

INTERRUPTED = 130
NOBODY_READS = 141
"""What a shell sees of a program that SIGPIPE ended: docker compose is one."""


class Commands(TyperGroup):
    """Lists commands in the order of `commands`, and accepts their flags in the forms that docker compose accepts."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands' names."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without building them."""
        built = self.commands
        assert isinstance(built, OnDemand)
        self.commands = built.outlines()
        try:
            super().format_commands(ctx, formatter)
        finally:
            self.commands = built

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write examples, and the variables that all commands read."""
        from compose.cli.examples import PROGRAM
        from compose.cli.noted import write_notes

        write_notes(formatter, PROGRAM)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the global flags in the forms that docker compose accepts."""
        return super().parse_args(ctx, normalize_flags(self, args)[0])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that `args` name, and its own arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not isinstance(command, TyperGroup):
            rest, is_dry = normalize_flags(command, rest)
            ctx.meta[DRY_RUN] = is_dry
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises JsonError for a SkiffError where errors are JSON, UnheardError for a broken pipe."""
        try:
            return super().invoke(ctx)
        except SkiffError as error:
            if isinstance(ctx.obj, Globals) and ctx.obj.reports_json:
                from compose.render.progress import json_error

                raise JsonError(json_error(str(error))) from error
            raise
        except BrokenPipeError as error:  # click would exit on its own
            raise UnheardError from error


class JsonError(Exception):
    """A failure, its text a JSON document."""


class UnheardError(Exception):
    """Raised when nobody reads what the command writes."""


def make_group() -> TyperGroup:
    """Return the program: the global flags and all commands, which are built on demand."""
    app = typer.Typer(
        name="skiff",
        cls=Commands,
        help="Brings up stacks from a Compose file on its own container runtime.",
        no_args_is_help=True,
        add_completion=False,
        suggest_commands=False,  # click suggests them itself
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def globals_(
        ctx: typer.Context,
        file: Annotated[
            list[str] | None, typer.Option("--file", "-f", help="Compose file; may be given several times")
        ] = None,
        project_name: Annotated[str, typer.Option("--project-name", "-p", help="Name of the project")] = "",
        profile: Annotated[
            list[str] | None,
            typer.Option("--profile", help="Profile to enable", autocompletion=profile_names),
        ] = None,
        env_file: Annotated[
            list[str] | None, typer.Option("--env-file", help="File of variables instead of .env")
        ] = None,
        project_directory: Annotated[
            str, typer.Option("--project-directory", help="Directory that paths are relative to")
        ] = "",
        all_resources: Annotated[
            bool,
            typer.Option("--all-resources", help="Include networks, volumes and other resources that no service uses"),
        ] = False,
        host: Annotated[
            str, typer.Option("--host", "-H", help="Engine to use (default: our own, or $DOCKER_HOST)")
        ] = "",
        root: Annotated[str, typer.Option("--root", help="State directory of our own engine")] = "",
        progress: Annotated[str, typer.Option("--progress", help="auto, tty, plain, json or quiet")] = "",
        ansi: Annotated[str, typer.Option("--ansi", help="never, always or auto")] = "auto",
        parallel: Annotated[int, typer.Option("--parallel", help="Operations at once; -1 for no limit")] = -1,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done")] = False,
        compatibility: Annotated[
            bool, typer.Option("--compatibility", help="Names of containers with underscores")
        ] = False,
        version: Annotated[
            bool,
            typer.Option("--version", "-v", is_eager=True, callback=_show_version, help="Show the version and exit"),
        ] = False,
        verbose: Annotated[bool, typer.Option("--verbose", help=NO_EFFECT)] = False,
        insecure_registry: Annotated[list[str] | None, typer.Option("--insecure-registry", help=NO_EFFECT)] = None,
        # docker compose has dropped these, but scripts still use them
        workdir: Annotated[str, typer.Option("--workdir", help="As --project-directory")] = "",
        no_ansi: Annotated[bool, typer.Option("--no-ansi", help="As --ansi never")] = False,
    ) -> None:
        if no_ansi:
            if ansi != "auto":
                raise SkiffError('cannot specify DEPRECATED "--no-ansi" and "--ansi"', "leave --no-ansi out")
            ansi = "never"
        if root:
            os.environ["SKIFF_ROOT"] = root
        if ansi not in ("never", "always", "auto"):
            raise SkiffError(f'unsupported --ansi value "{ansi}"', "write never, always or auto")
        if ansi == "never":
            os.environ["NO_COLOR"] = "1"
        source = ProjectSource(
            tuple(file or ()),
            project_name,
            tuple(profile or ()),
            tuple(env_file or ()),
            project_directory or workdir,
            all_resources,
            compatibility,
            read_standard_input,
        )
        ctx.obj = Globals(source, host or None, progress, ansi, parallel, dry_run or bool(ctx.meta.get(DRY_RUN)))

    group = typer.main.get_group(app)
    group.commands = OnDemand(commands.names(), commands.make, commands.outline)
    return group


def profile_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the profiles of the project that begin with `incomplete`, for a shell's completion."""
    from compose.cli import completion

    return completion.profile_names(ctx, incomplete)


def _show_version(wanted: bool) -> None:
    if wanted:
        from compose.cli.version import version_line

        print(version_line())
        raise typer.Exit


def main() -> None:
    """Run the command line; exit as docker compose would."""
    try:
        group = make_group()
        if commands.COMPLETE in os.environ:
            from compose.cli.completion import complete

            _leave(complete(group))
        code = group(prog_name="skiff", standalone_mode=False)
        _leave(code if isinstance(code, int) else 0)
    except SkiffError as error:
        print(f"skiff: {error}", file=sys.stderr)
        _leave(1)
    except JsonError as error:
        print(error, file=sys.stderr)
        _leave(1)
    except KeyboardInterrupt:
        _leave(INTERRUPTED)
    except (UnheardError, BrokenPipeError):
        _leave(NOBODY_READS)
    except OSError as error:
        print(f"skiff: {error.filename or 'writing output'}: {error.strerror or error}", file=sys.stderr)
        _leave(1)
    except Exception as error:  # noqa: BLE001 - the last stop: no traceback reaches a user
        _report_usage(error)


def _leave(code: int) -> NoReturn:
    """Exit at once: threads may still wait for the engine, and Python would join them."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by who started us
                stream.flush()
    except BrokenPipeError:
        code = code or NOBODY_READS
    except OSError as error:
        os.write(2, f"skiff: standard output can't be written: {error.strerror}\n".encode())
        code = code or 1
    os._exit(code)


def _report_usage(error: Exception) -> NoReturn:
    """Report a mistake on the command line as click would, anything else as a bug; exits."""
    show = getattr(error, "show", None)
    if show is not None:
        show()
        _leave(1)  # as docker compose: click would say 2
    if type(error).__name__ in ("Abort", "Exit"):
        _leave(getattr(error, "exit_code", INTERRUPTED))
    if os.environ.get("SKIFF_DEBUG"):
        raise error
    text = f"skiff: internal error: {type(error).__name__}: {error}"
    print(f"{text}\n    this is a bug; $SKIFF_DEBUG=1 shows where it happened", file=sys.stderr)
    _leave(1)


if __name__ == "__main__":
    main()
