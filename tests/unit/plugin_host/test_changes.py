"""What becomes of a change whose caller goes away, and of one that its supervisor does not live to see the end of."""

import asyncio
from pathlib import Path

import pytest

from forgemesh.plugin_host.supervisor.changes.changes import Changes
from forgemesh.plugin_host.supervisor.fleet.group import Group
from forgemesh.plugin_host.supervisor.plan.plan import PluginPlan
from forgemesh.plugin_host.supervisor.state.change import Change, Configuration, Stage
from forgemesh.plugin_host.supervisor.state.journal import Journal

OLD, NEW = Configuration(text="1", revision=1), Configuration(text="2", revision=2)


def change(stage: Stage, *, old: tuple[str, ...] | None = ("stock-1",), states: tuple[bytes, ...] = ()) -> Change:
    return Change(name="stock", stage=stage, before=OLD, after=NEW, old=old, states=states)


async def test_a_change_goes_on_when_its_caller_goes_away_and_the_next_one_waits_for_it() -> None:
    group, gate, done = Group(PluginPlan(name="stock")), asyncio.Event(), list[str]()

    async def first() -> None:
        await gate.wait()
        done.append("first")

    async def second() -> str:
        done.append("second")
        return "answer"

    async with asyncio.TaskGroup() as tasks:
        changes = Changes(tasks)
        caller = asyncio.create_task(changes.of(group, first))
        waiting = asyncio.create_task(changes.of(group, second))
        while not group.changing.locked():
            await asyncio.sleep(0)
        caller.cancel()
        gate.set()

        assert await waiting == "answer"
    assert done == ["first", "second"]
    assert caller.cancelled()
    assert not group.changing.locked()


async def test_a_change_whose_turn_has_not_come_is_not_made_for_a_caller_who_has_gone() -> None:
    group, gate, done = Group(PluginPlan(name="stock")), asyncio.Event(), list[str]()

    async def first() -> None:
        await gate.wait()

    async def second() -> None:
        done.append("second")

    async with asyncio.TaskGroup() as tasks:
        changes = Changes(tasks)
        held = asyncio.create_task(changes.of(group, first))
        waiting = asyncio.create_task(changes.of(group, second))
        while not group.changing.locked():
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        gate.set()
        await held

    assert done == []


async def test_the_failure_of_a_change_is_its_callers_and_ends_nothing_else() -> None:
    group = Group(PluginPlan(name="stock"))

    async def failing() -> None:
        raise ValueError("no")

    async with asyncio.TaskGroup() as tasks:
        with pytest.raises(ValueError, match="no"):
            await Changes(tasks).of(group, failing)

        assert not group.changing.locked()


async def test_a_section_that_changes_during_a_change_counts_at_its_end() -> None:
    group, seen = Group(PluginPlan(name="stock", config="1")), list[str]()

    async def changing() -> None:
        group.replan(PluginPlan(name="stock", config="2"))
        seen.append(group.config)

    async with asyncio.TaskGroup() as tasks:
        await Changes(tasks).of(group, changing)

    assert (seen, group.config, group.revision) == (["1"], "2", 2)


@pytest.mark.parametrize(
    ("stage", "old", "stays", "counts"),
    [
        (Stage.TRYING, ("stock-1",), ["stock-1"], OLD),
        (Stage.REPLACING, ("stock-1",), ["stock-2"], NEW),
        (Stage.REPLACING, (), ["stock-1", "stock-2"], NEW),
        (Stage.TRYING, None, ["stock-1", "stock-2"], OLD),
    ],
)
def test_who_stays_and_what_counts_when_nothing_more_comes_of_a_change(
    stage: Stage, old: tuple[str, ...] | None, stays: list[str], counts: Configuration
) -> None:
    unfinished = change(stage, old=old)

    assert [name for name in ("stock-1", "stock-2") if unfinished.keeps(name)] == stays
    assert unfinished.counts == counts


def test_a_journal_tells_the_next_supervisor_what_was_unfinished_until_it_is_settled(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.changes"
    unfinished = change(Stage.REPLACING, states=(b"\x00\xff", b""))
    Journal(path).note(unfinished)
    found = Journal(path).change("stock")
    Journal(path).settle("stock", NEW)
    after = Journal(path)

    assert found == unfinished
    assert (after.change("stock"), after.configuration("stock")) == (None, NEW)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_journal_forgets_plugins_that_are_no_longer_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "supervisor.changes")
    journal.note(change(Stage.TRYING))
    journal.forget_all_but(["other"])

    assert journal.change("stock") is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"changes": {"stock": {}}}', b'{"changes": 7}', b"\xff"])
def test_a_journal_that_cannot_be_read_holds_nothing_and_says_so(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "supervisor.changes"
    path.write_bytes(content)

    assert Journal(path).change("stock") is None
    assert "cannot read what an earlier supervisor was changing" in caplog.text
