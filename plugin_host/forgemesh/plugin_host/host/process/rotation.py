"""Whether calls are to come here, as the host's health says it."""

from __future__ import annotations

import asyncio

from forgemesh.chassis.health import Health

UNREGISTERED = "it has never been registered"


class Rotation:
    """Ready as long as nothing speaks against it, and started once it was ready; `run` says so soon, `say` at once."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._against: set[str] = set()
        self._changed = asyncio.Event()
        self._saying = asyncio.Lock()

    def enter(self, reason: str) -> None:
        """This no longer speaks against it."""
        self._against.discard(reason)
        self._changed.set()

    def leave(self, reason: str) -> None:
        """This speaks against it, until `enter` takes it back."""
        self._against.add(reason)
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.say()

    async def say(self) -> None:
        """What holds now is what health says when this returns."""
        async with self._saying:
            await (self._health.not_ready() if self._against else self._health.ready())
