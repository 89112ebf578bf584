"""Which releases come into question for a requirement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from semantic_version import Version

from forgemesh.notation.version_range import InvalidRange, VersionRange
from forgemesh.registry.domain.catalogue import Catalogue, Release
from forgemesh.registry.domain.manifest import Requirement
from forgemesh.registry.domain.rules import Rules


class Candidates:
    """
    The catalogue without what is in quarantine or outside of a pin; of `fixed` plugins only these releases.

    Answers are remembered, so it is made anew for each resolution. A range that cannot be read accepts nothing.
    """

    def __init__(self, catalogue: Catalogue, rules: Rules, fixed: Mapping[str, Release] | None = None) -> None:
        self._catalogue = catalogue
        self._rules = rules
        self._fixed = fixed or {}
        self._ranges: dict[tuple[str, bool], VersionRange | None] = {}
        self._allowed: dict[str, Sequence[Release]] = {}
        self._masks: dict[tuple[Requirement, str], int] = {}

    def of(self, plugin_id: str) -> Sequence[Release]:
        """The releases of a plugin that may be used, the highest version last."""
        found = self._allowed.get(plugin_id)
        if found is None:
            found = self._allowed[plugin_id] = [
                one for one in self._catalogue.releases.get(plugin_id, ()) if not self._objection(one)
            ]
        return found

    def providers(self, interface: str) -> Sequence[str]:
        """The plugins that provide the interface in some release, whether that may be used or not."""
        return self._catalogue.providers.get(interface, ())

    def is_published(self, plugin_id: str) -> bool:
        """Whether there is any release of the plugin, whether it may be used or not."""
        return plugin_id in self._catalogue.releases

    def is_fixed(self, plugin_id: str) -> bool:
        """Whether the plugin's release is decided already."""
        return plugin_id in self._fixed

    def accepted(self, requirement: Requirement, release: Release) -> bool:
        """Whether the release fulfils the requirement."""
        manifest = release.manifest
        wanted = self._range(requirement.version_range, interface=bool(requirement.interface))
        if wanted is None:
            return False
        if requirement.plugin_id:
            return requirement.plugin_id == manifest.plugin_id and wanted.accepts(release.version)
        return any(
            one.name == requirement.interface and wanted.accepts(Version(one.version)) for one in manifest.provides
        )

    def highest(self, plugin_id: str, requirements: Iterable[Requirement], below: int | None = None) -> int | None:
        """
        The index in `of` of the highest release that fulfils all requirements, None if none does.

        Only those up to and including `below` are looked at, if that is given.
        """
        fitting = (1 << (len(self.of(plugin_id)) if below is None else below + 1)) - 1
        for requirement in requirements:
            fitting &= self._fitting(requirement, plugin_id)
        return fitting.bit_length() - 1 if fitting else None

    def _fitting(self, requirement: Requirement, plugin_id: str) -> int:
        """A bit for each release in `of` that fulfils the requirement, the lowest bit for the lowest version."""
        key = (requirement, plugin_id)
        found = self._masks.get(key)
        if found is None:
            releases = self.of(plugin_id)
            found = self._masks[key] = sum(
                1 << index for index, release in enumerate(releases) if self.accepted(requirement, release)
            )
        return found

    def published(self, plugin_ids: Iterable[str]) -> Sequence[str]:
        """All releases of these plugins, the highest version first, with what speaks against their use."""
        return [_described(one, self._objection(one)) for one in self._every(plugin_ids)]

    def held_back(self, plugin_ids: Iterable[str], requirements: Iterable[Requirement]) -> str:
        """The release that would fulfil all requirements if an operator let it, and the command that lets it."""
        wanted = list(requirements)
        for one in self._every(plugin_ids):
            if self._objection(one) and all(self.accepted(requirement, one) for requirement in wanted):
                manifest = one.manifest
                if manifest.key in self._rules.quarantined:
                    return f"{manifest} is in quarantine: forgemesh plugin release {manifest}"
                return f"{manifest} is outside of the pin: forgemesh plugin unpin {manifest.plugin_id}"
        return ""

    def _every(self, plugin_ids: Iterable[str]) -> Sequence[Release]:
        return [one for plugin_id in plugin_ids for one in reversed(self._catalogue.releases.get(plugin_id, ()))]

    def _objection(self, release: Release) -> str:
        fixed = self._fixed.get(release.manifest.plugin_id, release)
        if fixed.manifest.version != release.manifest.version:
            return f"{fixed.manifest.version} is needed elsewhere"
        if release.manifest.key in self._rules.quarantined:
            return "in quarantine"
        pin = self._rules.pins.get(release.manifest.plugin_id, "")
        held = self._range(pin, interface=False) if pin else None
        return f"held to {pin} by a pin" if held is not None and not held.accepts(release.version) else ""

    def _range(self, text: str, *, interface: bool) -> VersionRange | None:
        key = (text, interface)
        if key not in self._ranges:
            try:
                self._ranges[key] = VersionRange.of_interface(text) if interface else VersionRange.of(text)
            except InvalidRange:
                self._ranges[key] = None
        return self._ranges[key]


def _described(release: Release, objection: str) -> str:
    manifest = release.manifest
    provides = "".join(f", {one.name}@{one.version}" for one in manifest.provides)
    return f"{manifest}{provides}" + (f" ({objection})" if objection else "")
