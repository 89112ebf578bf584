"""Whether who answers at the address of a member is that member."""

from __future__ import annotations

from dataclasses import dataclass

from forgemesh.balancer.domain.fleet import Member

_SHOWN = 128
"""Characters of a foreign name that are shown; no name is longer."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What somebody says about who they are; empty texts and 0 are what they leave out."""

    instance_id: str = ""
    plugin_id: str = ""
    incarnation: int = 0

    def contradict(self, member: Member) -> str:
        """
        What speaks against that they are `member`, for people; empty if nothing does.

        What they leave out is not held against them, nor an incarnation that is newer than the one that is known.
        """
        other = (
            self.instance_id not in ("", member.instance_id)
            or self.plugin_id not in ("", member.plugin_id)
            or self.is_behind(member)
        )
        return f"{self} answers at its address" if other else ""

    def is_behind(self, member: Member) -> bool:
        """Whether they are of an earlier incarnation than is known of `member`."""
        return 0 < self.incarnation < member.incarnation

    def __str__(self) -> str:
        who = f"instance {self.instance_id[:_SHOWN]!r}" if self.instance_id else "an instance"
        of = f" of plugin {self.plugin_id[:_SHOWN]!r}" if self.plugin_id else ""
        at = f" (incarnation {self.incarnation})" if self.incarnation else ""
        return f"{who}{of}{at}"
