import re
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.repository import ROOT

PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_tests_on_the_page_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "order.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    (tmp_path / "stock.py").write_text(next(block for block in blocks("python") if "class Stock" in block))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(block, names)
    tests = [value for name, value in names.items() if name.startswith("test_")]

    assert len(tests) == 4
    for test in tests:
        test()
