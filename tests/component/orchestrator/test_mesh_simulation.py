"""The whole orchestrator over a disk, plugins and people at their whim: its laws hold, whenever it dies."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.state import Status
from tests.component.orchestrator.simulated_mesh.laws import Broken
from tests.component.orchestrator.simulated_mesh.planted import PLANTED, Plant
from tests.component.orchestrator.simulated_mesh.world import MeshWorld
from tests.seeds import FIRST, PARTS, SEEDS, seeds_of, shared_folder, together

MANY = 1_000
"""Seeds among which everything that can happen has happened."""
ENOUGH = 400
"""Seeds among which a mistake that is made on purpose shows."""


def ended(seed: int) -> MeshWorld:
    """The mesh of a seed once everything in it has ended; no law was broken on the way."""
    world = MeshWorld(seed)
    try:
        world.run()
    except Broken as broken:
        raise AssertionError(f"{broken}; FORGEMESH_SEED={seed} FORGEMESH_SIMULATIONS=1") from broken
    return world


@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_to_a_mesh_its_laws_hold_and_everything_ends(
    part: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ends: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    deaths = 0
    for seed in seeds_of(part):
        world = ended(seed)
        ends.update(account.ledger.over for account in world.record.accounts.values())
        kinds += world.record.kinds
        deaths += world.deaths
    shown = {"ends": ends, "kinds": kinds, "deaths": {"all": deaths}}

    everything = together(shared_folder(tmp_path_factory, "simulated-meshes"), part, shown)
    if everything is not None and SEEDS >= MANY:
        assert everything["deaths"]["all"] > SEEDS / 4
        assert set(everything["ends"]) == {status.value for status in Status if status.final}
        assert set(everything["kinds"]) == {fact.__name__ for fact in e.Fact.__args__}


@pytest.mark.parametrize("seed", range(FIRST, FIRST + 4))
def test_a_seed_is_one_history(seed: int) -> None:
    once, again = ended(seed), ended(seed)

    assert told(once) == told(again)


def told(world: MeshWorld) -> list[str]:
    """Every event in the order of their writes."""
    return [f"{key} {event}" for key, event in world.record.events]


@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a mesh that breaks is not buried
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_caught_by_the_law_that_it_breaks(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    first, laws = PLANTED[plant]
    caught = next((seed for seed in range(first, first + ENOUGH) if broken_law(seed) in laws), None)
    gc.collect()  # its coroutines complain here, and not in a test that comes later

    assert caught is not None, f"not caught in {ENOUGH} meshes"


def broken_law(seed: int) -> str:
    """The first law that does not hold in the mesh of a seed; empty if all of them do."""
    try:
        MeshWorld(seed).run()
    except Broken as broken:
        return broken.law
    return ""
