"""Who provides something now: the instances that fit, the best one first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forgemesh.faults.registry import InterfaceNotFound, NoProviderAvailable, PluginNotFound, VersionConflict
from forgemesh.registry.application.availability import Verdict
from forgemesh.registry.domain.candidates import Candidates
from forgemesh.registry.domain.catalogue import Catalogue
from forgemesh.registry.domain.instance import Registration, State
from forgemesh.registry.domain.manifest import Key, Manifest, Requirement
from forgemesh.registry.domain.ranking import Candidate, Condition, Load, Ranked, ranked
from forgemesh.registry.domain.rules import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is looked for; `limit` is how many at most, `unavailable` whether also what would not be called now."""

    requirement: Requirement
    must: Sequence[Condition] = ()
    prefer: Sequence[tuple[Condition, int]] = ()
    unavailable: bool = False
    limit: int = 10


@dataclass(frozen=True, slots=True)
class Known:
    """What the registry knows of its instances at one moment; `now` is wall time."""

    catalogue: Catalogue
    registrations: Sequence[Registration]
    verdict: Callable[[Registration], Verdict | None]
    load: Callable[[Registration], Load]
    now: float

    def search(self, search: Search, turn: int) -> list[Ranked]:
        """
        Equal ones take turns with `turn`. Raises PluginNotFound, InterfaceNotFound, VersionConflict and
        NoProviderAvailable.
        """
        manifests = self._manifests(search.requirement)
        fitting = [
            candidate
            for registration in self.registrations
            if (manifest := manifests.get(_key(registration))) is not None
            for candidate in (self._candidate(registration, manifest),)
            if all(condition.holds(candidate) for condition in search.must)
        ]
        found = ranked(fitting, search.prefer, self.now, turn)
        available = [one for one in found if not one.candidate.objection]
        if not available and not (search.unavailable and found):
            raise NoProviderAvailable(search.requirement.target, _cause(search, fitting))
        return (found if search.unavailable else available)[: search.limit]

    def _manifests(self, wanted: Requirement) -> dict[Key, Manifest]:
        """The published versions that fulfil it."""
        candidates = Candidates(self.catalogue, Rules())
        if wanted.plugin_id:
            plugins: Sequence[str] = (wanted.plugin_id,) if candidates.is_published(wanted.plugin_id) else ()
            if not plugins:
                raise PluginNotFound(wanted.plugin_id)
        else:
            plugins = candidates.providers(wanted.interface)
            if not plugins:
                raise InterfaceNotFound(wanted.interface)
        releases = [one for plugin in plugins for one in candidates.of(plugin) if candidates.accepted(wanted, one)]
        if not releases:
            raise VersionConflict(wanted.target, [f"this request wants {wanted}"], candidates.published(plugins))
        return {one.manifest.key: one.manifest for one in releases}

    def _candidate(self, registration: Registration, manifest: Manifest) -> Candidate:
        return Candidate(registration, manifest, self.load(registration), self._objection(registration))

    def _objection(self, registration: Registration) -> str:
        instance, verdict = registration.instance, self.verdict(registration)
        if registration.quarantine:
            return f"its version is in quarantine: {registration.quarantine}"
        if instance.state is State.CRASH_LOOP:
            return f"it crashed too often: {instance.state_reason}"
        if instance.state is State.DRAINING:
            return "it drains"
        if verdict is not None and not verdict.available:
            return f"it does not serve: {verdict.reason}" if verdict.reason else "it does not serve"
        return "its lease has run out" if registration.suspect else ""


def _key(registration: Registration) -> Key:
    return registration.instance.plugin_id, registration.instance.plugin_version


def _cause(search: Search, fitting: Sequence[Candidate]) -> str:
    if not fitting:
        return "no instance that fits is registered" + (" and meets every condition" if search.must else "")
    first = fitting[0]
    more = f", and {len(fitting) - 1} more" if len(fitting) > 1 else ""
    return f"{first.registration.instance.instance_id}: {first.objection}{more}"
