"""Whether the connection below a channel stands."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator, Callable

import grpc

from forgemesh.chassis.tasks import lasting, watched
from forgemesh.chassis.waking_clock import patience

GRACE = 1.0
"""Seconds for a watch to hear that its channel is closed; a millisecond is usual."""
_DOWN = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


class Connection:
    """
    Keeps a channel connected, and knows whether it is: what is handed to one that is not has not left.

    `on_change` is told when the connection stands or cannot be had, again each time.
    """

    def __init__(self, channel: grpc.aio.Channel, on_change: Callable[[], None]) -> None:
        self._channel = channel
        self._on_change = on_change
        self._state: grpc.ChannelConnectivity | None = None
        self._moved = asyncio.Event()

    @property
    def stands(self) -> bool:
        """Whether it stands in this moment."""
        return self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    @property
    def lost(self) -> bool:
        """Whether it could not be had when that was last seen."""
        return self._state in _DOWN

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """
        Keep it connected while the block runs, and close it then.

        That ends the watch: one that is cancelled instead stays behind in grpc, and tells a loop that may be over.
        """
        watching = watched(lasting("the watch of a connection", self._watch))
        try:
            yield
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)  # a call that stands there keeps the channel open, unheard
            raise
        finally:
            await self._channel.close()
            await asyncio.wait([watching], timeout=GRACE)
            watching.cancel()

    async def _watch(self) -> None:
        with contextlib.suppress(grpc.aio.UsageError):  # it is closed
            while True:
                state = self._state = self._channel.get_state(try_to_connect=True)
                moved, self._moved = self._moved, asyncio.Event()
                moved.set()
                if state is grpc.ChannelConnectivity.READY or state in _DOWN:
                    self._on_change()
                await self._channel.wait_for_state_change(state)

    async def stood(self, seconds: float) -> bool:
        """Wait until it stands; False once it cannot be had, or after so long."""
        try:
            async with patience(seconds):
                while not self.stands:
                    if self.lost:
                        return False
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True
