from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING

from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from tests.component.registry.registries import DEADLINE, goodbye, registration

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

INTERRUPTIONS = 1_000
NAMES = [f"i-{number}" for number in range(20)]


class Watcher:
    """Follows the registry through watches that are cut off after a random number of messages."""

    def __init__(self, registry: RegistryServiceAsyncStub, chance: random.Random) -> None:
        self._registry = registry
        self._chance = chance
        self._seen: instance_pb2.Revision | None = None
        self.revisions: list[int] = []
        self.known: dict[str, int] = {}
        self.interruptions = 0

    async def until(self, revision: int) -> None:
        """Watch, be cut off, resume, until this revision has been seen."""
        while self._seen is None or self._seen.revision < revision:
            call = self._registry.WatchInstances(pb.WatchInstancesRequest(resume_after=self._seen))
            messages = aiter(call)
            for _ in range(self._chance.randint(1, 4)):
                async with asyncio.timeout(DEADLINE):
                    self._take(await anext(messages))
                if self._seen is not None and self._seen.revision >= revision:
                    break
            call.cancel()
            self.interruptions += 1

    def _take(self, message: pb.WatchInstancesResponse) -> None:
        self._seen = message.revision
        kind = message.WhichOneof("kind")
        if kind == "bookmark":
            return
        self.revisions.append(message.revision.revision)
        if kind == "all":
            self.known = {one.instance_id: one.incarnation for one in message.all.instances}
        elif kind == "changed":
            self.known[message.changed.instance_id] = message.changed.incarnation
        else:
            assert self.known.pop(message.gone.instance_id) == message.gone.incarnation


async def test_a_watch_that_is_cut_off_a_thousand_times_misses_nothing_and_sees_nothing_twice(
    registry: RegistryServiceAsyncStub,
) -> None:
    seed = int(os.environ.get("FORGEMESH_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"FORGEMESH_SEED={seed}")
    chance = random.Random(seed)
    watcher = Watcher(registry, chance)
    registered: dict[str, pb.RegisterInstanceResponse] = {}
    revision = 0
    await watcher.until(0)
    while watcher.interruptions < INTERRUPTIONS:
        for _ in range(chance.randint(1, 6)):
            name = chance.choice(NAMES)
            if name in registered and chance.random() < 0.5:
                await registry.DeregisterInstance(goodbye(registered.pop(name)))
                revision += 1
            else:
                registered[name] = await registry.RegisterInstance(registration(name))
                revision = registered[name].revision.revision
        await watcher.until(revision)

    assert watcher.revisions == list(range(revision + 1))
    assert watcher.known == {name: one.instance.incarnation for name, one in registered.items()}
