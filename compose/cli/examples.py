"""Examples and variables, as the help of commands and the manual pages show them below the flags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

Pairs = tuple[tuple[str, str], ...]


class Notes(NamedTuple):
    """Command lines (without "skiff ") and what they do; variables that the command reads, and what they set."""

    examples: Pairs = ()
    variables: Pairs = ()

    def sections(self) -> Iterator[tuple[str, str]]:
        """Yield title and text of each part that there is."""
        if self.examples:
            yield "Examples", "".join(f"  skiff {line}\n      {what}\n" for line, what in self.examples)
        if self.variables:
            yield "Variables", "".join(f"  {name:24}{what}\n" for name, what in self.variables)


PROGRAM = Notes(
    (
        ("up -d", "bring up the stack of compose.yaml in the background"),
        ("plan", "show what `up` would change, and why"),
        ("logs -f --level warn", "follow what goes wrong"),
        ("help COMMAND", "flags and examples of a command"),
    ),
    (
        ("COMPOSE_FILE", "the Compose files, with colons between them, as --file"),
        ("COMPOSE_PROJECT_NAME", "the project's name, as --project-name"),
        ("COMPOSE_PROFILES", "profiles to enable, with commas between them, as --profile"),
        ("COMPOSE_ENV_FILES", "files of variables, with commas between them, as --env-file"),
        ("COMPOSE_PROGRESS", "how progress is shown, as --progress"),
        ("COMPOSE_ANSI", "colours and live progress: never, always or auto, as --ansi"),
        ("COMPOSE_PARALLEL_LIMIT", "operations at once, as --parallel"),
        ("DOCKER_HOST", "the engine to use instead of our own, as --host"),
        ("DOCKER_CONTEXT", "the same, by the name of a context of docker"),
        ("SKIFF_ROOT", "the state directory of our own engine, as --root"),
        ("SKIFF_RUN", "the directory of its sockets and log"),
        ("NO_COLOR", "any value: no colours"),
    ),
)
"""Those of the program as a whole."""
COMMANDS: dict[str, Notes] = {
    "up": Notes(
        (
            ("up", "in the foreground, with the output of all containers; Ctrl-C stops them"),
            ("up -d --wait", "in the background; return once all services are healthy"),
            ("up -d --build web", "build the image of web first, and bring up web and what it depends on"),
            ("up --watch", "copy or build changes of files into containers while they run"),
            ("up -d --rerun", "run one-shots again that have completed and did not change"),
        ),
        (
            ("COMPOSE_REMOVE_ORPHANS", "1: as --remove-orphans"),
            ("COMPOSE_IGNORE_ORPHANS", "1: no warning of them"),
            ("COMPOSE_MENU", "1: as --menu"),
            ("SKIFF_NOTIFY", "bell or desktop: signal the end of what took 10 s or longer"),
        ),
    ),
    "plan": Notes(
        (
            ("plan", "a line for each change, with its reason"),
            ("plan --exit-code", "exit with 2 when something would change, for scripts"),
            ("plan --build --format json", "what `up --build` would do, an object a line"),
        )
    ),
    "down": Notes(
        (
            ("down", "stop and remove containers and networks; volumes stay"),
            ("down -v --rmi local", "volumes, and images that were built here, as well"),
        ),
        (("COMPOSE_REMOVE_ORPHANS", "1: as --remove-orphans"),),
    ),
    "logs": Notes(
        (
            ("logs -f web", "follow the output of web"),
            ("logs --grep 'timeout|refused' --exclude healthz", "lines that match, by regular expressions"),
            ("logs --level error --since 1h", "errors of the last hour, by JSON, logfmt or words before the message"),
            ("logs --since last-restart web", "what web has printed since it was started last"),
            ("logs --json --stderr", "what went to standard error, an object a line"),
        )
    ),
    "exec": Notes(
        (
            ("exec web sh", "a shell in the container of web"),
            ("exec -T db pg_dump -U app app > dump.sql", "without a terminal, so that output is what is printed"),
        )
    ),
    "run": Notes(
        (
            ("run --rm web pytest", "a command in a new container of web, which is removed then"),
            ("run --rm -p 5678:5678 web debug", "with a port of its own"),
        )
    ),
    "ps": Notes(
        (
            ("ps -a", "stopped containers too"),
            ("ps --format json", "an object a line, as docker compose prints it"),
            ("ps --format '{{.Name}} {{.Status}}'", "by a template"),
        )
    ),
    "build": Notes(
        (
            ("build web", "build the image of web"),
            ("build --no-cache --pull", "from the beginning, with the newest base"),
            ("build --check", "warnings about Dockerfiles alone"),
        ),
        (
            ("SKIFF_BUILD_HOST_CA", "1: as --with-host-ca"),
            ("BUILDKIT_PROGRESS", "how progress is shown"),
            ("BUILDX_BUILDER", "default; others are of buildx, and are warned of"),
        ),
    ),
    "watch": Notes(
        (("watch", "bring up the stack, then copy or build changes of files into containers"),),
        (("SKIFF_NOTIFY", "bell or desktop: signal the end of a rebuild that took 10 s or longer"),),
    ),
    "config": Notes(
        (
            ("config", "the model that all files make together"),
            ("config --services", "names of services"),
            ("config -q", "check the files, print nothing"),
        )
    ),
    "graph": Notes(
        (
            ("graph", "a flow chart of Mermaid, for a README"),
            ("graph --states -o stack.svg", "a picture with services coloured by their states"),
        )
    ),
    "cp": Notes(
        (
            ("cp web:/var/log/app.log .", "from a container"),
            ("cp ./seed.sql db:/tmp/", "to one"),
        )
    ),
    "stats": Notes((("stats", "live, with lines of CPU and memory"), ("stats --no-stream --format json", "once"))),
    "top": Notes((("top", "processes once"), ("top --follow web", "again and again, with lines of CPU and memory"))),
    "stop": Notes((("stop", "each container has its stop_grace_period"), ("stop -t 0 web", "kill web at once"))),
    "restart": Notes((("restart web", "web, and what asks to be restarted with it"),)),
    "scale": Notes((("scale web=3 worker=2", "so many containers of each"),)),
    "wait": Notes((("wait migrate", "return once migrate ended, with its exit code"),)),
    "port": Notes((("port web 80", "the address of this machine that leads to port 80 of web"),)),
    "events": Notes((("events --json", "an object a line, as they happen"),)),
    "completion": Notes(
        (
            ("completion bash > /etc/bash_completion.d/skiff", "for all users of bash"),
            ("completion fish > ~/.config/fish/completions/skiff.fish", "for fish"),
        )
    ),
    "doctor": Notes((("doctor", "what this machine lacks, and the cure"), ("doctor --json", "the same for programs"))),
    "shim": Notes((("shim ~/.local/bin", "have scripts that call docker-compose use Skiff"),)),
    "pull": Notes((("pull --ignore-buildable", "images that are not built here"),)),
    "publish": Notes((("publish registry.example/app:1", "then elsewhere: skiff -f oci://registry.example/app:1 up"),)),
}
"""By the name of the command."""
