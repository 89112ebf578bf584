"""
An orchestrator that does not ask what an expression costs: it hangs, as one does on what nobody has foreseen, and says
so beforehand by a file `hanging` in its folder.
"""

from pathlib import Path

from forgemesh.orchestrator.main import main
from forgemesh.orchestrator.workflow.expressions.expression import MAX_COST, Allowance


def go_on_regardless(self: Allowance, source: str, time: float) -> None:
    if time > MAX_COST:
        Path("hanging").touch()


if __name__ == "__main__":
    Allowance.spend_time = go_on_regardless  # type: ignore[method-assign]
    main()
