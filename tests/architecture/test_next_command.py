"""Who cannot be reached is told of in one place, which knows the next command wherever the mesh runs."""

import ast

from tests.architecture.repository import ROOT, modules

PLACE = "services/forgemesh/chassis/next_command.py"


def test_an_unreachable_service_is_told_of_in_one_place() -> None:
    made_in = {
        str(path.relative_to(ROOT))
        for path in modules()
        if path.relative_to(ROOT).parts[0] in ("services", "plugin_host", "clients")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ServiceUnreachable"
    }

    assert made_in == {PLACE}
