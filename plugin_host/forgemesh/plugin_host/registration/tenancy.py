"""Whether the process that holds an instance id lives, or has left a lease that will run out."""

from __future__ import annotations

from collections.abc import Mapping


class Tenancy:
    """
    Compares what the registry says about the holder of an id each time that it refuses the id to somebody else.

    Who renews its lease, or registers anew, is alive. A registry that was started anew counts renewals from the start.
    """

    def __init__(self) -> None:
        self._seen: tuple[int, int] | None = None

    def is_alive(self, said: Mapping[str, str]) -> bool:
        """Whether the holder has done something since it was last seen; `said` holds its incarnation and renewals."""
        try:
            now = int(said["incarnation"]), int(said["renewals"])
        except (KeyError, ValueError):
            return False
        before, self._seen = self._seen, now
        return before is not None and now > before
