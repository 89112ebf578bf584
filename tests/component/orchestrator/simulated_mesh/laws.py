"""What must not happen, by name."""

from __future__ import annotations


class Broken(SystemExit):
    """A law does not hold; `law` is its name. Nothing that is simulated can catch it."""

    def __init__(self, law: str, story: str) -> None:
        super().__init__(f"[{law}] {story}")
        self.law = law


def demand(holds: bool, law: str, *story: object) -> None:
    """Raises Broken unless it holds."""
    if not holds:
        raise Broken(law, " ".join(map(str, story)))
