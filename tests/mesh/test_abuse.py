"""
Crowds at a mesh of real processes: others go on, and afterwards everything is as before.

In the suite a small crowd, and counts; by `make abuse` (FORGEMESH_ABUSE) each in its full number, and times.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from forgemesh.client import Client
from tests.mesh.bare_server import floor
from tests.mesh.crowds import (
    Crowd,
    Noticed,
    exceptions,
    idle,
    log_bytes,
    others,
    quiet,
    register,
    resident,
    sent,
    settled,
    standing,
    start,
    watch,
)
from tests.mesh.up_process import HELLO, LINGER, Up, Workplace, going_up

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(1800), pytest.mark.xdist_group("crowds")]  # one at a time

FULL = "FORGEMESH_ABUSE" in os.environ
FEW_FILES = 1024
MOST_LOGGED = 4 * 1024 * 1024
CHECKED, SLOWER, GREW = 0.2, 3.0, 1.2
REGISTERED = 199
"""Of one host, beside the one instance that the mesh has."""


def number(few: int, many: int) -> int:
    return many if FULL else few


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    assert workplace.left_behind() == []


async def abused(mesh: Up, crowd: Crowd, *, bare: bool = False) -> list[Counter[str]]:
    """
    The crowd comes twice; how many of it met with what.

    With `bare`, what it does to a server that only answers is the least that others may notice of it.
    """
    async with Client.connect(mesh.address) as client:
        await client.register(HELLO)
        await client.register(LINGER)
    before, pids, alone = standing(mesh), mesh.pids(), await quiet(mesh, 30)
    least = await floor(crowd) if FULL and bare else None
    logged, memory, met = log_bytes(mesh), [], []
    for _ in range(2):
        async with others(mesh) as noticed:
            met.append(await sent(crowd, mesh.facts()["services"]))
        await settled(mesh)
        memory.append(resident(pids))
        told(alone, noticed, memory[-1])
        if FULL:
            check_times(alone, noticed, least)
    assert standing(mesh) == before
    assert exceptions(mesh) == []
    assert log_bytes(mesh) - logged <= MOST_LOGGED
    if FULL:
        grown = {name: size / memory[0][name] for name, size in memory[1].items()}
        assert max(grown.values()) <= GREW, grown
    return met


def told(alone: Noticed, noticed: Noticed, memory: dict[str, int]) -> None:
    slowest, where = noticed.slowest_check()
    print(f"\nstarts alone: p99 {alone.start(0.99) * 1000:.0f} ms; beside the crowd: {len(noticed.starts)},")
    print(f"  p50 {noticed.start(0.5) * 1000:.0f} ms, p99 {noticed.start(0.99) * 1000:.0f} ms")
    print(f"slowest Check: {slowest * 1000:.0f} ms ({where})")
    print(f"they themselves were late by {max(noticed.late) * 1000:.0f} ms")
    print("memory:", ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in memory.items()))


def check_times(alone: Noticed, noticed: Noticed, least: Noticed | None) -> None:
    slowest = SLOWER * alone.start(0.99)
    if least is not None:
        print(f"at a bare server: p99 {least.start(0.99) * 1000:.0f} ms, worst {max(least.starts) * 1000:.0f} ms")
        ratios = noticed.start(0.99) / least.start(0.99), max(noticed.starts) / max(least.starts)
        print("  so here {:.1f} and {:.1f} times as long".format(*ratios))
        slowest = max(slowest, *least.starts)
    assert noticed.start(0.99) <= slowest
    assert noticed.slowest_check()[0] <= CHECKED, noticed.slowest_check()


@pytest.mark.parametrize("service", ["orchestrator", "registry"])
async def test_idle_connections_keep_nobody_out(place: Workplace, service: str) -> None:
    with going_up(place, open_files=None if FULL else FEW_FILES) as mesh:
        met = await abused(mesh, partial(idle, number=number(400, 5000), service=service))
        mesh.stop()

    assert [one["came"] for one in met] == [number(800, 10000)] * 2


async def test_more_registrations_than_there_may_be_are_refused_and_take_no_descriptors(place: Workplace) -> None:
    crowd = number(400, 5000)
    with going_up(place, open_files=FEW_FILES) as mesh:
        met = await abused(mesh, partial(register, number=crowd))
        mesh.stop()

    assert met == [Counter(taken=REGISTERED, TOO_MANY_INSTANCES=crowd - REGISTERED)] * 2


@pytest.mark.parametrize("channels", [1, 50])
async def test_of_many_starts_at_once_all_are_taken_and_others_start_meanwhile(place: Workplace, channels: int) -> None:
    crowd = number(1200, 5000)
    with going_up(place) as mesh:
        met = await abused(mesh, partial(start, number=crowd, channels=channels), bare=True)
        mesh.stop()

    assert met == [Counter(started=crowd)] * 2


async def test_many_watches_of_one_client_stand_in_nobodys_way(place: Workplace) -> None:
    crowd = number(250, 2000)
    with going_up(place) as mesh:
        met = await abused(mesh, partial(watch, number=crowd))
        mesh.stop()

    assert met == [Counter(seen=crowd)] * 2
