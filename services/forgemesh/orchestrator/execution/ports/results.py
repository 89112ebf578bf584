"""Outputs of earlier calls, for those that ask for the same again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from forgemesh.orchestrator.values.payload import Payload


@dataclass(frozen=True, slots=True)
class KeptResult:
    """The output of an earlier call, and the plugin version that gave it, at the manifest that it had then."""

    plugin_id: str
    plugin_version: str
    manifest_digest: str
    output: Payload


class ResultStore(Protocol):
    """Keeps outputs for a while."""

    async def cached(self, key: bytes, now: int) -> list[KeptResult]:
        """What is kept under `key`, one of each provider, the newest first."""

    async def keep_result(self, key: bytes, kept: KeptResult, expires_at: int) -> None:
        """In place of what is kept of the same provider."""
