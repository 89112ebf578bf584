"""The same for many executions: each by itself, so that one that is refused does not hold up the others."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from forgemesh.faults import Fault, Violation
from forgemesh.faults.service import Internal, InvalidRequest
from forgemesh.orchestrator.execution.commands.starts import StartRequest, Starts
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionLists, ExecutionOrder
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.values.failure import Failure, failure_of

_log = logging.getLogger(__name__)

MAX_EXECUTIONS = 1_000
"""That a filter chooses at a time."""


StartOutcome: TypeAlias = tuple[ExecutionState, bool] | Failure
"""The execution and whether this request started it, or why none was started."""


@dataclass(frozen=True, slots=True)
class Controlled:
    """It was done to this run, or refused; `run_id` is empty if it was refused before it was found."""

    execution_id: str
    run_id: str
    refused: Failure | None = None


class Bulk:
    """Writes that are asked for together are committed together."""

    def __init__(self, store: ExecutionLists, starts: Starts) -> None:
        self._store = store
        self._starts = starts

    async def start(
        self, asked: Sequence[Callable[[], StartRequest]], tell: Callable[[int, StartOutcome], None]
    ) -> None:
        """
        `tell` hears what became of each, by its number, as soon as that is known. `asked` may refuse, too.

        While the others are waited for a state goes on, ahead of what is durable: so it is looked at in that moment.
        """

        async def one(number: int, make: Callable[[], StartRequest]) -> None:
            tell(number, await self.start_one(make))

        await asyncio.gather(*(one(number, make) for number, make in enumerate(asked)))

    async def start_one(self, make: Callable[[], StartRequest]) -> StartOutcome:
        """What became of one of many, which is none of the others' business."""
        try:
            return await self._starts.start(make())
        except Fault as fault:
            return failure_of(fault)
        except Exception as error:  # noqa: BLE001 - a bug that one of them meets is not the others'
            return failure_of(_incident(error))

    async def chosen(
        self, namespace: str, ids: Sequence[tuple[str, str]], wanted: ExecutionFilter | None
    ) -> tuple[list[tuple[str, str]], bool]:
        """
        The ids and runs, or those of the oldest executions that the filter fits, and whether it fits more.

        A filter means the executions that it fits now, and none that gets one of their ids meanwhile.
        """
        if ids:
            return list(dict.fromkeys(ids)), False
        if wanted is None:
            raise InvalidRequest([Violation("execution_ids", "name executions, or say with `filter` which are meant")])
        page = await self._store.executions(wanted, ExecutionOrder.STARTED_ASCENDING, "", MAX_EXECUTIONS)
        return [(row.execution_id, row.run_id) for row in page.rows], bool(page.next_token)

    async def control(
        self, chosen: Sequence[tuple[str, str]], do: Callable[[str, str], Awaitable[str]]
    ) -> list[Controlled]:
        """What became of each; `do` takes an id and a run, and says which run it met."""

        async def one(execution_id: str, run_id: str) -> Controlled:
            try:
                return Controlled(execution_id, await do(execution_id, run_id))
            except Fault as fault:
                return Controlled(execution_id, run_id, failure_of(fault))
            except Exception as error:  # noqa: BLE001 - the same
                return Controlled(execution_id, run_id, failure_of(_incident(error)))

        return list(await asyncio.gather(*(one(execution_id, run_id) for execution_id, run_id in chosen)))


def _incident(error: Exception) -> Internal:
    incident = secrets.token_hex(8)
    _log.error("incident %s in one of many requests", incident, exc_info=error, extra={"incident": incident})
    return Internal(incident)
