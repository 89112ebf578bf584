"""Writes the golden vectors: `python -m tests.golden.generate`."""

import json
from pathlib import Path

from tests.golden.cases import vectors

PICKS = Path(__file__).with_name("picks.json")


def text() -> str:
    """One stage on a line, so that a change is easy to see."""
    lines = []
    for case in vectors():
        stages = ",\n   ".join(json.dumps(stage, ensure_ascii=False) for stage in case.pop("stages"))
        head = json.dumps(case, ensure_ascii=False)[:-1]
        lines.append(f'  {head}, "stages": [\n   {stages}\n  ]}}')
    return '{"format": 1, "cases": [\n' + ",\n".join(lines) + "\n]}\n"


if __name__ == "__main__":
    PICKS.write_text(text(), encoding="utf-8")
