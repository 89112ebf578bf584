from forgemesh.cli.status import orchestrator_note

QUIET = {"running": 3, "suspended": 1, "saved_by_sweep": 0, "leaked_slots": 0, "store_trouble": ""}


def test_the_orchestrator_says_how_many_executions_it_runs() -> None:
    assert orchestrator_note(QUIET) == "3 running · 1 suspended · 0 saved by sweep"


def test_what_must_not_happen_is_said_when_it_does() -> None:
    troubled = QUIET | {"leaked_slots": 2, "store_trouble": "no space left"}

    assert orchestrator_note(troubled).endswith("2 leaked slots · store: no space left")


def test_an_orchestrator_that_is_away_says_nothing() -> None:
    assert orchestrator_note({}) == ""
