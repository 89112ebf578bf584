"""All that an orchestrator has kept, but for schedules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from forgemesh.orchestrator.execution.ports.forgetting import ForgettingStore
from forgemesh.orchestrator.execution.ports.histories import HistoryStore
from forgemesh.orchestrator.execution.ports.lists import ExecutionLists
from forgemesh.orchestrator.execution.ports.results import ResultStore
from forgemesh.orchestrator.execution.ports.span_cursor import SpanCursor
from forgemesh.orchestrator.workflow.ports import DefinitionStore


class Store(DefinitionStore, HistoryStore, ExecutionLists, ResultStore, ForgettingStore, SpanCursor, Protocol):
    """
    Keeps definitions and histories. What it acknowledges is durable.

    Raises faults.service.StoreUnavailable when it cannot, and then has kept nothing of what it was asked, and
    DataCorrupted for what it finds damaged.
    """

    @property
    def damaged(self) -> Sequence[str]:
        """What is to be said of each record that was found damaged; lists leave these out."""
