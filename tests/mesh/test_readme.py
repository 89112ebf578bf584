"""The three files of the README make a mesh that does what the README shows."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mesh.up_process import Workplace, going_up

pytestmark = pytest.mark.mesh

README = Path(__file__).parents[2] / "README.md"
FILE = re.compile(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TEXT = "every step of it survives"
RESULT = '{"words":5,"verdict":{"words":4,"longest":"survives"}}\n'


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    place = Workplace(tmp_path)
    for name, text in FILE.findall(README.read_text(encoding="utf-8")):
        (tmp_path / name).write_text(text)
    return place


def test_a_newcomers_first_mesh(place: Workplace) -> None:
    with going_up(place) as mesh:
        ran = place.forgemesh("run", "words.yaml", "-i", f"text={TEXT}")
        called = subprocess.run(
            [sys.executable, "caller.py"],
            cwd=place.folder,
            env=place.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert mesh.said["ready"] == ["words-1", "words-2"]
        assert (ran.returncode, ran.stdout) == (0, RESULT)
        assert RESULT in README.read_text(encoding="utf-8")
        assert called.stdout.splitlines() == [
            "{'words': 4, 'verdict': {'words': 4, 'longest': 'longest'}}",
            "1  execution_started",
            "2 count attempt_started",
            "3 count attempt_failed",
            "4 verdict step_skipped",
            "5  execution_failed",
            "TEXT_EMPTY at count",
        ], called.stderr
        log = (place.data / "logs" / "words-1.log").read_text() + (place.data / "logs" / "words-2.log").read_text()
        records = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        assert "5 words for count" in [record["message"] for record in records]
