"""Faults that any service may raise, whatever it does."""

from __future__ import annotations

from collections.abc import Sequence

from forgemesh.faults.fault import Code, Fault, Violation


class Internal(Fault):
    """A bug; what it was stands only in the log of the process, under the incident id."""

    code = Code.INTERNAL
    reason = "INTERNAL"

    def __init__(self, incident: str) -> None:
        super().__init__(
            f"internal error, incident {incident}; look for it in the log of the service that answered",
            {"incident": incident},
        )


class InvalidRequest(Fault):
    code = Code.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"

    def __init__(self, violations: Sequence[Violation]) -> None:
        listed = "; ".join(f"{v.field}: {v.message}" for v in violations)
        super().__init__(f"the request is not valid: {listed}", {"violations": listed}, violations=violations)


class ShuttingDown(Fault):
    code = Code.UNAVAILABLE
    reason = "SHUTTING_DOWN"

    def __init__(self, service: str) -> None:
        super().__init__(f"{service} is stopping and takes no new work; try again", {"service": service})


class StoreUnavailable(Fault):
    code = Code.UNAVAILABLE
    reason = "STORE_UNAVAILABLE"

    def __init__(self, path: str, cause: str, remedy: str = "mend the file system and try again") -> None:
        super().__init__(
            f"the database {path} cannot be used: {cause}; nothing acknowledged is lost, {remedy}",
            {"path": path, "cause": cause, "remedy": remedy},
            retry_after=1.0,
        )


class StoreLost(StoreUnavailable):
    """The files of the database are no longer the ones that this process writes to."""

    reason = "STORE_LOST"

    def __init__(self, path: str, cause: str) -> None:
        Fault.__init__(
            self,
            f"the database {path} is not in its place any more: {cause}; nothing is acknowledged from here on, and"
            ' its process ends, to be started again: see "Files that go" in docs/operations.md',
            {"path": path, "cause": cause},
            retry_after=1.0,
        )


class StoreTooNew(StoreUnavailable):
    """A newer release has written the database; it is as it was, and nobody but a person can change that."""

    reason = "STORE_TOO_NEW"

    def __init__(self, path: str, schema: int, known: int) -> None:
        Fault.__init__(
            self,
            f"the database {path} cannot be used: it has schema {schema}, this release knows {known}; nothing"
            " acknowledged is lost, use the newer release, or a backup from before it",
            {"path": path, "schema": str(schema), "known": str(known)},
        )


class DataCorrupted(Fault):
    code = Code.DATA_LOSS
    reason = "DATA_CORRUPTED"

    def __init__(self, record: str, cause: str, remedy: str = "restore a backup") -> None:
        super().__init__(
            f'{record} is damaged: {cause}; {remedy}: see "Damaged data" in docs/operations.md',
            {"record": record, "cause": cause, "remedy": remedy},
        )


class ServiceUnreachable(Fault):
    code = Code.UNAVAILABLE
    reason = "SERVICE_UNREACHABLE"

    def __init__(self, service: str, address: str, cause: str, remedy: str = "") -> None:
        super().__init__(
            f"cannot reach the {service} at {address}: {cause}" + (f"; {remedy}" if remedy else ""),
            {"service": service, "address": address, "cause": cause},
            retry_after=1.0,
        )
