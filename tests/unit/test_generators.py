"""No async generator yields inside a task group or a cancel scope (see runtime.streaming for what happens then)."""

import ast
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SCOPES = {"create_task_group", "CancelScope", "fail_after", "move_on_after"}
MANAGERS = {"asynccontextmanager", "contextmanager", "fixture"}
"""What is decorated so is exited by the task that entered it."""


def own_nodes(node):
    """Yield what is in a function, but not in functions inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield child
            yield from own_nodes(child)


def called_name(expression):
    """Return the last name of what an expression calls: "move_on_after" of `anyio.move_on_after(1)`."""
    function = expression.func if isinstance(expression, ast.Call) else expression
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def managers_around_yields(function):
    """Return the name of each context manager in whose block `function` yields."""
    nodes = list(own_nodes(function))
    if not any(isinstance(node, ast.Yield) for node in nodes):
        return set()
    return {
        called_name(item.context_expr)
        for node in nodes
        if isinstance(node, ast.With | ast.AsyncWith) and any(isinstance(one, ast.Yield) for one in own_nodes(node))
        for item in node.items
    }


def is_manager(function):
    return any(called_name(one) in MANAGERS for one in function.decorator_list)


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)]


def faults(sources):
    """Return place and name of each generator of `sources` (text by place) that yields inside a scope."""
    found = [
        (place, function, managers)
        for place, text in sources.items()
        if "yield" in text
        for function in functions(ast.parse(text))
        if (managers := managers_around_yields(function))
    ]
    scopes = set(SCOPES)
    while True:  # a context manager that yields inside a scope is one itself
        more = {function.name for _, function, managers in found if is_manager(function) and scopes & managers}
        if more <= scopes:
            break
        scopes |= more
    return [
        f"{place}:{function.lineno} {function.name}"
        for place, function, managers in found
        if isinstance(function, ast.AsyncFunctionDef) and not is_manager(function) and scopes & managers
    ]


def test_nothing_of_ours_yields_inside_a_task_group_or_a_cancel_scope():
    sources = {
        str(path.relative_to(TOP)): path.read_text()
        for room in ("runtime", "compose")
        for path in (TOP / room).rglob("*.py")
    }
    assert len(sources) > 100
    assert faults(sources) == []


@pytest.mark.parametrize(
    "text",
    [
        "async def f():\n async with anyio.create_task_group() as group:\n  yield 1",
        "async def f():\n with move_on_after(1):\n  if x:\n   yield 1",
        "async def f():\n async with together() as group:\n  try:\n   yield 1\n  finally:\n   pass",
        "class A:\n async def f(self):\n  async with self.opened() as group:\n   yield 1",
    ],
)
def test_each_way_to_yield_inside_a_scope_is_found(text):
    helpers = (
        "@asynccontextmanager\nasync def together():\n async with anyio.create_task_group() as group:\n  yield group\n"
        "@asynccontextmanager\nasync def opened():\n async with together() as group:\n  yield group\n"
    )
    assert len(faults({"a.py": text, "b.py": helpers})) == 1


def test_a_yield_next_to_a_scope_is_fine():
    text = "async def f():\n with move_on_after(1):\n  await g()\n yield 1\n with x:\n  yield 2"
    assert faults({"a.py": text}) == []
