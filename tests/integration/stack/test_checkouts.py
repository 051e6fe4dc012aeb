"""Two folders of one name, and what else is refused before anything is touched."""

import pytest

pytestmark = pytest.mark.root

WEB = "services: {web: {image: busybox, command: sleep infinity, stop_grace_period: 0s}}\n"


def test_the_stack_of_another_folder_with_the_same_name_is_not_touched(stack):
    folders = []
    for where in ("one", "other"):
        project = stack(WEB, folder=f"{where}/checkout")
        (project.folder / "compose.yaml").write_text(WEB)
        project.name = "checkout"
        folders.append(project)
    first, second = folders
    first.skiff("up", "-d")
    began = first.inspect("web")["State"]["StartedAt"]
    for command in (["up", "-d"], ["plan"], ["down"], ["stop"], ["restart"], ["kill"], ["rm", "-f"]):
        said = second.refused(*command)
        assert f"has been brought up from another folder of this name: {first.folder}" in said
        assert "`name: ANOTHER`" in said
    assert first.inspect("web")["State"]["StartedAt"] == began
    assert "web-1" in second.skiff("ps").stdout
    second.skiff("-p", "checkout", "up", "-d")  # who gives the name means it
    (first.folder / "compose.yaml").rename(first.folder / "gone")
    second.skiff("up", "-d")  # the folder was moved


def test_two_services_with_one_port_are_refused_before_either_is_made(stack):
    port = 'ports: ["127.0.0.1:18099:80"]'
    project = stack(f"services: {{a: {{image: busybox, {port}}}, b: {{image: busybox, {port}}}}}\n")
    assert 'services "a" and "b" both publish port 18099/tcp' in project.refused("up", "-d")
    assert project.containers() == {}


def test_a_variable_with_a_space_before_its_value_is_refused_with_the_cure(stack):
    project = stack('services: {a: {image: busybox, environment: ["FOO = bar"]}}\n')
    said = project.refused("config")
    assert "the variable's name 'FOO ' ends with a space" in said
    assert "write FOO=bar" in said


def test_ansi_is_checked_and_colours_what_goes_to_no_terminal(stack):
    project = stack("services: {a: {image: busybox, command: echo hi}}\n")
    assert 'unsupported --ansi value "sometimes"' in project.refused("--ansi", "sometimes", "ps")
    project.skiff("up")
    assert "\x1b[" in project.skiff("--ansi", "always", "logs").stdout
    assert "\x1b[" not in project.skiff("--ansi", "never", "logs").stdout
