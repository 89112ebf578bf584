"""Every channel has the one set of options: all are made in one place."""

import ast

from tests.architecture.repository import ROOT, modules

PLACE = "services/forgemesh/chassis/channel.py"
MAKERS = {"insecure_channel", "secure_channel"}


def test_channels_are_made_in_one_place() -> None:
    made_in = {
        str(path.relative_to(ROOT))
        for path in modules()
        if path.relative_to(ROOT).parts[0] in ("services", "plugin_host", "clients")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id) in MAKERS
    }

    assert made_in == {PLACE}
