"""The same for many executions: each by itself, so that one that is refused does not hold up the others."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence

from forgemesh.faults import Fault, Violation
from forgemesh.faults.service import Internal, InvalidRequest
from forgemesh.orchestrator.application.starts import StartRequest, Starts
from forgemesh.orchestrator.domain.failure import Failure, failure_of
from forgemesh.orchestrator.domain.state import ExecutionState
from forgemesh.orchestrator.ports import ExecutionFilter, ExecutionOrder, Store

_log = logging.getLogger(__name__)

MAX_EXECUTIONS = 1_000


class Bulk:
    """Writes that are asked for together are committed together."""

    def __init__(self, store: Store, starts: Starts) -> None:
        self._store = store
        self._starts = starts

    async def start(self, asked: Sequence[Callable[[], StartRequest]]) -> list[tuple[ExecutionState, bool] | Failure]:
        """What became of each; raises InvalidRequest if they are too many. `asked` may refuse, too."""
        _check_number("requests", len(asked))

        async def one(make: Callable[[], StartRequest]) -> tuple[ExecutionState, bool] | Failure:
            try:
                return await self._starts.start(make())
            except Fault as fault:
                return failure_of(fault)
            except Exception as error:  # noqa: BLE001 - a bug that one of them meets is not the others'
                return failure_of(_incident(error))

        return list(await asyncio.gather(*(one(make) for make in asked)))

    async def chosen(
        self, namespace: str, ids: Sequence[str], wanted: ExecutionFilter | None
    ) -> tuple[list[str], bool]:
        """The ids, or those of the oldest executions that the filter fits, and whether it fits more."""
        _check_number("execution_ids", len(ids))
        if ids:
            return list(dict.fromkeys(ids)), False
        if wanted is None:
            raise InvalidRequest([Violation("execution_ids", "name executions, or say with `filter` which are meant")])
        page = await self._store.executions(wanted, ExecutionOrder.STARTED_ASCENDING, "", MAX_EXECUTIONS)
        return [row.execution_id for row in page.rows], bool(page.next_token)

    async def control(
        self, ids: Sequence[str], do: Callable[[str], Awaitable[object]]
    ) -> list[tuple[str, Failure | None]]:
        """Why it was refused, for each; None: it was done."""

        async def one(execution_id: str) -> tuple[str, Failure | None]:
            try:
                await do(execution_id)
            except Fault as fault:
                return execution_id, failure_of(fault)
            except Exception as error:  # noqa: BLE001 - the same
                return execution_id, failure_of(_incident(error))
            return execution_id, None

        return list(await asyncio.gather(*(one(execution_id) for execution_id in ids)))


def _incident(error: Exception) -> Internal:
    incident = secrets.token_hex(8)
    _log.error("incident %s in one of many requests", incident, exc_info=error, extra={"incident": incident})
    return Internal(incident)


def _check_number(field: str, count: int) -> None:
    if count > MAX_EXECUTIONS:
        raise InvalidRequest([Violation(field, f"there are {count}, at most {MAX_EXECUTIONS} go together")])
