"""What is forgotten, and when."""

from __future__ import annotations

from typing import Protocol

from forgemesh.orchestrator.values.shard import Shard


class ForgettingStore(Protocol):
    """Forgets what nobody needs any more."""

    async def delete_execution(self, key: int, shard: Shard) -> None:
        """Forget an execution with its history and what only it needs; refused as every write of a replaced owner."""

    async def forget_answers(self, given_before: int) -> None:
        """Those about schedules; those about executions are forgotten with them."""

    async def expired(self, ended_before: int, keep: int, limit: int) -> list[int]:
        """Keys of ended executions: those that ended before then, and those beyond the `keep` newest (0: all kept)."""

    async def drop_expired_results(self, now: int) -> None: ...
