"""Waiting for the first of several things."""

from __future__ import annotations

import asyncio

from forgemesh.chassis.tasks import watched


async def first_of(*events: asyncio.Event, timeout: float | None = None) -> None:
    """Return when one of the events is set, or after `timeout` seconds; which it was, the events tell."""
    waits = [watched(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
