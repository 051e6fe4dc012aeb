"""What a Dockerfile is warned of without building it: all checks but those that need to know the base images."""

from __future__ import annotations

from runtime.build import instructions as ins
from runtime.build.arguments import global_arguments
from runtime.build.errors import DockerfileError
from runtime.build.expansion import expand
from runtime.build.lint import Lint, StageLint, check_file, lint_of
from runtime.build.options import BuildOptions


def check_dockerfile(dockerfile: ins.Dockerfile, options: BuildOptions) -> Lint:
    """Return what is found in every stage, in the order of the lines.

    Which variables a base image has is not known, so that undefined ones are found by a build alone.
    Raises DockerfileError for a directive `check` that can't be read.
    """
    lint = lint_of(dockerfile, options, lambda _: None)
    arguments = global_arguments(dockerfile, options, set())
    check_file(dockerfile, arguments, lint)
    begins: dict[str, tuple[bool, bool]] = {}
    for stage in dockerfile.stages:
        has_workdir, has_shell = begins.get(stage.base.image.lower(), (False, False))
        looking = StageLint(lint, has_workdir)
        for instruction in stage.instructions:
            looking.look_at(instruction, has_shell)
            if isinstance(instruction, ins.Shell):
                has_shell = True
            if isinstance(instruction, ins.Workdir):
                looking.look_at_directory(_word(instruction.path, dockerfile.escape), instruction.line)
        if stage.base.name:
            begins[stage.base.name] = (looking.has_workdir, has_shell)
    lint.found = dict(sorted(lint.found.items(), key=lambda item: item[0][2]))
    return lint


def _word(written: str, escape: str) -> str:
    """Return a word without its quotes; one that begins with a variable may be anything, so it counts as absolute."""
    if written.startswith("$"):
        return "/"
    try:
        return expand(written, {}, escape)
    except DockerfileError:  # reported by a build
        return "/"
