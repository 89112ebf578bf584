"""Nothing runs in the background whose end nobody sees: tasks and threads are started by an owner, or in a group."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.repository import ROOT, modules

OWNERS = {"services/forgemesh/chassis/tasks.py", "services/forgemesh/chassis/threads.py"}
"""These see what they start die: they log it, tell whoever wants to know, or begin again."""
STARTS = {"create_task", "ensure_future", "run_coroutine_threadsafe", "Thread", "start_new_thread", "Timer"}
GROUPS = {"TaskGroup", "task_scope"}
SURE = {"_exit", "kill", "cancel"}
"""What a Timer may call: it is done by the system or by grpc, and has no bugs of ours."""


def _ours() -> list[Path]:
    return [path for path in modules() if path.relative_to(ROOT).parts[0] in ("services", "plugin_host", "clients")]


def _name(node: ast.expr | None) -> str:
    """The last part of a dotted name, of a call that of its function."""
    if isinstance(node, ast.Call):
        return _name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _groups(tree: ast.Module) -> set[str]:
    """The names under which a module knows task groups."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and _name(node.context_expr) in GROUPS and node.optional_vars is not None:
            found.add(_name(node.optional_vars))
        elif isinstance(node, ast.arg | ast.AnnAssign) and "TaskGroup" in ast.unparse(node.annotation or ast.Pass()):
            found.add(node.arg if isinstance(node, ast.arg) else _name(node.target))
        elif isinstance(node, ast.Assign) and _name(node.value) in GROUPS:
            found.update(_name(target) for target in node.targets)
    return found | {f"_{name}" for name in found}


def ownerless(text: str) -> Iterator[str]:
    """The starts of tasks and threads in a module that nobody looks after."""
    tree = ast.parse(text)
    groups = _groups(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _name(node.func) not in STARTS:
            continue
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        in_group = _name(node.func) == "create_task" and owner is not None and _name(owner) in groups
        sure = _name(node.func) == "Timer" and len(node.args) > 1 and _name(node.args[1]) in SURE
        if not in_group and not sure:
            yield f"{node.lineno}: {ast.unparse(node)}"


def test_every_task_and_every_thread_has_an_owner_that_sees_it_die() -> None:
    found = {str(path.relative_to(ROOT)): list(ownerless(path.read_text(encoding="utf-8"))) for path in _ours()}

    assert {name: starts for name, starts in found.items() if starts and name not in OWNERS} == {}
    assert all(found[name] for name in OWNERS)


def test_a_start_without_an_owner_would_be_found() -> None:
    started = """
async def begin(self, loop, tasks: asyncio.TaskGroup):
    asyncio.create_task(work())
    asyncio.ensure_future(work())
    loop.create_task(work())
    asyncio.get_running_loop().create_task(work())
    threading.Thread(target=work).start()
    threading.Timer(1, work).start()
    asyncio.run_coroutine_threadsafe(work(), loop)
    tasks.create_task(work())
    self._tasks.create_task(work())
    threading.Timer(1, os._exit, (1,)).start()
    async with task_scope() as group:
        group.create_task(work())
"""

    assert sorted(line.partition(":")[0] for line in ownerless(started)) == ["3", "4", "5", "6", "7", "8", "9"]
