"""Who this process is in the mesh."""

from __future__ import annotations

from forgemesh.faults.plugin import WrongIncarnation


class Identity:
    """
    An instance and its incarnations: one for each time that this process has registered.

    A call may mean any of them, since all are this process; one that means another process is refused.
    """

    def __init__(self, instance_id: str) -> None:
        self.instance_id = instance_id
        self.incarnation = 0
        self._own = {0}

    def registered(self, incarnation: int) -> None:
        """The registry has given this process a new incarnation."""
        self.incarnation = incarnation
        self._own.add(incarnation)

    def refuse_others(self, wanted: int) -> None:
        """Raise WrongIncarnation if a caller means another process; 0 means any."""
        if wanted not in self._own:
            raise WrongIncarnation(self.instance_id, wanted, self.incarnation)
