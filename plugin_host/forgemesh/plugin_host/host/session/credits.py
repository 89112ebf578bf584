"""Credits: how many calls each session may have on its way to a host, or in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CreditPool:
    """
    The calls that a host takes at a time, its queue included, shared over all sessions.

    A session *holds* what its caller may still send and what it has in the host. Each gets its share at once, when it
    comes and when another one leaves. Credits are never taken from a caller: a session above its share gives back as
    its calls finish. So the sum can be above the pool while a caller that came early holds credits idly; work never
    brings it there, and it is back at the pool when every session has used what it holds.
    """

    size: int

    def share(self, sessions: int) -> int:
        """What each of so many sessions may hold for certain; never less than one call."""
        return max(1, self.size // max(1, sessions))

    def grant(self, *, held: int, finished: int, others: int, sessions: int) -> int:
        """
        New credits for a session that holds `held` while the others hold `others`.

        `finished` of what it holds are calls that have ended since its last grant: they are spent, and come back as
        far as the pool allows, and always up to the session's share.
        """
        left = held - finished
        free = self.size - others - left
        return max(0, self.share(sessions) - left, min(finished, free))
