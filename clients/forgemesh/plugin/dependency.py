"""What a plugin needs: other plugins, or providers of an interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from forgemesh.notation.names import fits_dotted

OnLoss: TypeAlias = Literal["ignore", "degrade", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requires:
    """
    One thing that a plugin needs: a `plugin` by its id, or any provider of an `interface`, in a SemVer `range`.

    The plugin is started once that serves; if it is `optional`, also without. `on_loss` says what becomes of the
    running plugin when what it needs is lost: nothing ("ignore"), it is shown as degraded ("degrade"), or it is stopped
    until what it needs is back ("stop").
    """

    plugin: str = ""
    interface: str = ""
    range: str = ""
    optional: bool = False
    on_loss: OnLoss = "degrade"

    @property
    def target(self) -> str:
        """The name of what is needed."""
        return self.plugin or self.interface


def requirement(said: object, note: Callable[[str], None]) -> Requires:
    """`Requires`, or "plugin.id@range", checked; everything wrong with it is told to `note`."""
    if isinstance(said, str):
        name, _, versions = said.partition("@")
        if not fits_dotted(name) or ("@" in said and not versions) or not _fits_range(versions):
            note(
                f'requires {said!r} is not a plugin such as "shop.stock@^2"; for an interface: Requires(interface=...)'
            )
        return Requires(plugin=name, range=versions)
    if not isinstance(said, Requires):
        note(f'requires {said!r} is neither text such as "shop.stock@^2" nor a Requires')
        return Requires()
    if bool(said.plugin) == bool(said.interface):
        note(f"requires {said!r} names not exactly one of plugin and interface")
    elif not fits_dotted(said.target):
        note(f'requires {said.target!r}, which is not a dotted lower-case name such as "shop.stock"')
    if not _fits_range(said.range):
        note(f'requires {said.target} in {said.range!r}, which is not a range of versions such as "^1.2" or ">=1 <3"')
    if said.on_loss not in get_args(OnLoss):
        note(f"requires {said.target}: on_loss {said.on_loss!r} is none of {', '.join(get_args(OnLoss))}")
    return said


def requirements(said: object, note: Callable[[str], None]) -> tuple[Requires, ...]:
    """All that a plugin needs, each once."""
    if isinstance(said, (str, Requires)) or not isinstance(said, (list, tuple)):
        note(f'requires {said!r} is not a list such as ["shop.stock@^2"]')
        return ()
    found = tuple(requirement(one, note) for one in said)
    names = [(one.plugin, one.interface) for one in found]
    for target in sorted({"".join(name) for name in names if names.count(name) > 1}):
        note(f"requires {target!r} is listed twice; write one range that says both")
    return found


def _fits_range(text: str) -> bool:
    """As the registry reads it, which is slow to load; few plugins need it."""
    if not text:
        return True
    from forgemesh.notation.version_range import fits_range  # noqa: PLC0415

    return fits_range(text)
