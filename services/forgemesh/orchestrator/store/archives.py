"""Executions as files."""

from __future__ import annotations

import hashlib

from google.protobuf.message import DecodeError

from forgemesh.api.orchestrator.v1 import control_pb2
from forgemesh.chassis.counting import excess_of
from forgemesh.faults.control import ArchiveUnreadable
from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.execution.archives.archives import Archive
from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.store.events import event_from_stored, event_to_message, opened, record_of, version_of
from forgemesh.orchestrator.workflow.definition import Published

FORMAT = 1
_RECORD = "the exported execution"
_REMEDY = "export it again, and take care that the file is one that `forgemesh execution export` wrote"


class ArchivePacking:
    """See archives.Packing."""

    def pack(self, archive: Archive) -> bytes:
        """The file's bytes."""
        message = control_pb2.ExecutionArchive(
            format_version=FORMAT,
            namespace=archive.namespace,
            execution_id=archive.execution_id,
            definition_source=archive.source,
            events=[_record(event) for event in archive.events],
            published={path: _to_message(said) for path, said in archive.published.items()},
        )
        message.digest = _digest(message)
        return message.SerializeToString(deterministic=True)

    def unpack(self, data: bytes) -> Archive:
        """Raises DataCorrupted or ArchiveUnreadable."""
        try:
            message = control_pb2.ExecutionArchive.FromString(data)
        except DecodeError as error:
            raise DataCorrupted(_RECORD, f"it cannot be decoded: {error}", _REMEDY) from error
        excess = excess_of(message, len(data))
        if excess is not None:
            raise DataCorrupted(_RECORD, f"{excess.place}: {excess}", _REMEDY)
        if message.format_version > FORMAT:
            raise ArchiveUnreadable(message.format_version, FORMAT)
        digest = message.digest
        message.digest = b""
        if not message.events or digest != _digest(message):
            raise DataCorrupted(_RECORD, "its content does not fit its digest", _REMEDY)
        records = ((f"{_RECORD}, event {number}", body) for number, body in enumerate(message.events, start=1))
        return Archive(
            namespace=message.namespace,
            execution_id=message.execution_id,
            source=message.definition_source,
            published={path: _from_message(said) for path, said in message.published.items()}
            or {path: Published(idempotent) for path, idempotent in message.idempotence.items()},
            events=[event_from_stored(opened(body, record), {}, record) for record, body in records],
        )


def _record(event: Event) -> bytes:
    return record_of(event_to_message(event).SerializeToString(), version=version_of(event))


def _digest(message: control_pb2.ExecutionArchive) -> bytes:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).digest()


def _to_message(said: Published) -> control_pb2.PublishedOperation:
    message = control_pb2.PublishedOperation()
    if said.idempotent is not None:
        message.idempotent = said.idempotent
    if said.timeout is not None:
        message.timeout.FromNanoseconds(round(said.timeout * 1e9))
    return message


def _from_message(message: control_pb2.PublishedOperation) -> Published:
    return Published(
        message.idempotent if message.HasField("idempotent") else None,
        message.timeout.ToNanoseconds() / 1e9 if message.HasField("timeout") else None,
    )
