"""All instances and their health, and the snapshots that follow from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from forgemesh.balancer.domain.probe import Verdict
from forgemesh.routing.endpoint import Admission, CircuitState, CircuitView, Endpoint, Health
from forgemesh.routing.policy import DEFAULT, PluginPolicy
from forgemesh.routing.snapshot import Revision, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """
    An instance at one incarnation, as the registry knows it.

    Incarnations with one `tenure` follow one another, one process after the crash of another; empty is any.
    """

    instance_id: str
    incarnation: int
    plugin_id: str
    plugin_version: str
    address: str
    health_address: str
    max_in_flight: int = 0
    weight: int = 1
    tier: int = 0
    zone: str = ""
    session: bool = False
    admission: Admission = Admission.OPEN
    admission_reason: str = ""
    manifest_digest: str = ""
    tenure: str = ""

    @property
    def has_process(self) -> bool:
        """Whether there is anybody whose health could be checked."""
        return self.admission is not Admission.CRASH_LOOP


CLOSED = CircuitView()


@dataclass(frozen=True, slots=True)
class MemberState:
    """
    A member, its health, which is what it is since `since` on a clock that never goes back, and its circuit.

    `warming_since`: it has begun to serve, or its circuit has closed, at that moment.
    """

    member: Member
    verdict: Verdict
    since: float
    circuit: CircuitView = CLOSED
    ejected: bool = False
    warming_since: float | None = None

    def endpoint(self) -> Endpoint:
        """What a picker sees of it."""
        member = self.member
        return Endpoint(
            instance_id=member.instance_id,
            incarnation=member.incarnation,
            address=member.address,
            plugin_version=member.plugin_version,
            health=self.verdict.health,
            health_reason=self.verdict.reason,
            health_since=self.since,
            admission=member.admission,
            admission_reason=member.admission_reason,
            circuit=self.circuit,
            ejected=self.ejected,
            warming_since=self.warming_since,
            weight=member.weight,
            tier=member.tier,
            max_in_flight=member.max_in_flight,
            session=member.session,
            zone=member.zone,
            manifest_digest=member.manifest_digest,
        )


UNCHECKED = Verdict(Health.UNCHECKED)


@dataclass(frozen=True, slots=True)
class Fleet:
    """
    What follows from all changes of the registry, of health, circuits and policies so far, as a value.

    `revisions` counts the changes of each plugin, also of one without instances: its empty snapshot tells pickers
    that none is registered. Verdicts and farewells of an incarnation other than the present one change nothing.
    """

    epoch: int
    standings: Mapping[str, MemberState] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)
    policies: Mapping[str, PluginPolicy] = field(default_factory=dict)

    def policy(self, plugin_id: str) -> PluginPolicy:
        """What is ruled for the plugin."""
        return self.policies.get(plugin_id, DEFAULT)

    def standing(self, instance_id: str, incarnation: int) -> MemberState | None:
        """None unless the instance is there at that incarnation."""
        present = self.standings.get(instance_id)
        return present if present is not None and present.member.incarnation == incarnation else None

    def listed(self, members: Iterable[Member], now: float) -> Fleet:
        """Exactly these are registered; what is known of their health stays known."""
        changes: dict[str, MemberState | None] = dict.fromkeys(self.standings)
        changes |= {member.instance_id: self._present(member, now) for member in members}
        return self._with(changes)

    def changed(self, member: Member, now: float) -> Fleet:
        """A member appeared or changed; a new incarnation starts unchecked."""
        return self._with({member.instance_id: self._present(member, now)})

    def gone(self, instance_id: str, incarnation: int) -> Fleet:
        """A member is registered no more."""
        return self if self.standing(instance_id, incarnation) is None else self._with({instance_id: None})

    def judged(self, instance_id: str, incarnation: int, verdict: Verdict, now: float) -> Fleet:
        """The checks of an instance say something new."""
        present = self.standing(instance_id, incarnation)
        if present is None or present.verdict == verdict:
            return self
        if present.verdict.health is verdict.health:
            return self._with({instance_id: replace(present, verdict=verdict)})
        begins = verdict.health is Health.SERVING
        warming_since = now if begins else present.warming_since
        judged = replace(present, verdict=verdict, since=now, warming_since=warming_since)
        return self._with({instance_id: judged})

    def guarded(self, instance_id: str, incarnation: int, circuit: CircuitView, now: float) -> Fleet:
        """The circuit of an instance has moved; one that has been open closes into a slow start."""
        present = self.standing(instance_id, incarnation)
        if present is None or present.circuit == circuit:
            return self
        closes = circuit.state is CircuitState.CLOSED and present.circuit.state is not CircuitState.CLOSED
        warming_since = now if closes else present.warming_since
        return self._with({instance_id: replace(present, circuit=circuit, warming_since=warming_since)})

    def ejecting(self, plugin_id: str, out: Collection[str]) -> Fleet:
        """Exactly these instances of a plugin are ejected as outliers."""
        changes = {
            instance_id: replace(standing, ejected=not standing.ejected)
            for instance_id, standing in self.standings.items()
            if standing.member.plugin_id == plugin_id and standing.ejected is not (instance_id in out)
        }
        return self._with(changes)

    def ruled(self, plugin_id: str, policy: PluginPolicy) -> Fleet:
        """Another policy counts for the plugin."""
        if policy == self.policy(plugin_id):
            return self
        revisions = dict(self.revisions)
        if plugin_id in revisions:
            revisions[plugin_id] += 1
        return replace(self, policies={**self.policies, plugin_id: policy}, revisions=revisions)

    @property
    def unchecked(self) -> bool:
        """Whether there are instances of whose health nothing is known."""
        return any(
            standing.verdict.health is Health.UNCHECKED and standing.member.has_process
            for standing in self.standings.values()
        )

    def snapshot(self, plugin_id: str) -> Snapshot:
        """The present state of a plugin."""
        endpoints = tuple(s.endpoint() for s in self.standings.values() if s.member.plugin_id == plugin_id)
        revision = Revision(self.epoch, self.revisions.get(plugin_id, 0))
        return Snapshot(plugin_id, revision, self.policy(plugin_id), endpoints)

    def _present(self, member: Member, now: float) -> MemberState:
        """A member as it stands: what is known of its incarnation stays known."""
        present = self.standing(member.instance_id, member.incarnation)
        return MemberState(member, UNCHECKED, now) if present is None else replace(present, member=member)

    def _with(self, changes: Mapping[str, MemberState | None]) -> Fleet:
        """The fleet with these standings put in or, if None, taken out."""
        standings, revisions = dict(self.standings), dict(self.revisions)
        touched: set[str] = set()
        for instance_id, standing in changes.items():
            present = standings.pop(instance_id, None)
            if standing is not None:
                standings[instance_id] = standing
            if present != standing:
                touched |= {one.member.plugin_id for one in (present, standing) if one is not None}
        if not touched:
            return self
        for plugin_id in touched:
            revisions[plugin_id] = revisions.get(plugin_id, 0) + 1
        return replace(self, standings=standings, revisions=revisions)
