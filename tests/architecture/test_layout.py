import ast
import re
from pathlib import Path

from tests.architecture.repository import GENERATED, ROOT, SOURCE_ROOTS, modules, packages, relative, tracked

LONGEST_MODULE = 500
"""More than 400 lines is a question; from here on nobody has asked it."""
NAMES_OF_NOTHING = {"base", "common", "helper", "helpers", "manager", "managers", "util", "utils"}
NUMBERED_PLACEHOLDER = re.compile(r"[\s=<>(,]\?\d")
SQL = re.compile(r"\b(?:SELECT|INSERT|UPDATE|DELETE|VALUES|WHERE)\b")
SOMEBODYS_MACHINE = re.compile(rb"(?<![\w.:/$}-])/(?:home|root|work|Users|tmp/\w+_jobs)[/.]")


def test_no_root_of_the_namespace_hides_the_others() -> None:
    namespaces = [GENERATED / "forgemesh" / "api", *(root / "forgemesh" for root in SOURCE_ROOTS)]

    assert relative(path for path in namespaces if (path / "__init__.py").exists()) == []


def test_the_import_contracts_see_every_package() -> None:
    """They would pass over a folder without `__init__.py`."""
    assert relative(path for path in packages() if not (path / "__init__.py").exists()) == []


def test_every_package_ships_its_types() -> None:
    written = {path for path in packages() if path.parent.name == "forgemesh"}
    generated = {path.parent for path in GENERATED.rglob("*_pb2.py")}

    assert relative(path for path in written | generated if not (path / "py.typed").exists()) == []


def test_no_module_is_too_long_to_be_read_at_once() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}

    assert relative(path for path in lines if lines[path] > LONGEST_MODULE) == []


def test_every_module_is_named_for_a_thing() -> None:
    inside = {path: path.relative_to(ROOT).with_suffix("") for path in modules()}

    assert relative(path for path in inside if NAMES_OF_NOTHING.intersection(inside[path].parts)) == []


def test_no_file_knows_a_path_of_somebodys_machine() -> None:
    assert relative(path for path in tracked() if SOMEBODYS_MACHINE.search(path.read_bytes())) == []


def test_no_bound_is_that_of_the_interpreter() -> None:
    """How deep it can call differs from version to version; language/nesting.py has numbers of ours."""
    ours = [path for path in modules() if "tests" not in path.relative_to(ROOT).parts]
    catching = [path for path in ours if re.search("RecursionError|recursionlimit", path.read_text(encoding="utf-8"))]

    # schemas that refer to themselves have no end at whatever depth
    assert relative(catching) == ["services/forgemesh/language/json_schema.py"]


def test_no_statement_numbers_its_placeholders() -> None:
    """For Python these have names: 3.12 warns of a sequence of values for them, and 3.14 refuses it."""
    suspects = [path for path in modules() if NUMBERED_PLACEHOLDER.search(path.read_text(encoding="utf-8"))]

    assert relative(path for path in suspects if any(map(NUMBERED_PLACEHOLDER.search, _texts(path)))) == []


def test_a_numbered_placeholder_would_be_found(tmp_path: Path) -> None:
    module = tmp_path / "store.py"
    text = 'OVER = "x"\nFORGET = (f"DELETE FROM run WHERE {OVER} AND schedule = #1" " AND key < 1")\n'
    module.write_text(text.replace("#", "?"))

    assert any(map(NUMBERED_PLACEHOLDER.search, _texts(module)))


def _texts(path: Path) -> list[str]:
    """The SQL in a module, those parts of it in f-strings as well."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    formatted = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    texts = [" ".join(map(_plain, node.values)) for node in formatted] + list(map(_plain, nodes))
    return [text for text in texts if SQL.search(text)]


def _plain(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
