"""The circuit of every instance: what moves it, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from forgemesh.balancer.domain.caller import InstanceKey
from forgemesh.balancer.domain.decisions import Forced
from forgemesh.balancer.domain.events import Author
from forgemesh.balancer.domain.fleet import Fleet, Member, MemberState
from forgemesh.balancer.ports import HealthChecks
from forgemesh.chassis.containment import contained
from forgemesh.routing.circuit import Circuit
from forgemesh.routing.endpoint import CircuitState, CircuitView, Health
from forgemesh.routing.outcome import CallCounts, CallFailure, CountKey

_RESTLESS = frozenset({CircuitState.OPEN, CircuitState.HALF_OPEN})

ANSWER_DEADLINE = 3.0
"""Seconds after which a health check that has not come back is asked for again."""


@dataclass(slots=True, eq=False)
class Guarded:
    """An instance at one incarnation and its circuit; until `asked_until` a health check for it is on its way."""

    plugin_id: str
    instance_key: InstanceKey
    circuit: Circuit
    tenure: str = ""
    asked_until: float = 0.0


OnChange: TypeAlias = Callable[[Guarded, CircuitState | None, Author | None], None]


class Circuits:
    """
    Owns the circuits. Callers' counts, health, trial calls and operators move them; every transition is told to
    `on_change` once, in order, with the state before, which is None for where a circuit stood before it was known here.
    `on_gone` is told of registrations that are over for good.

    `fleet` is what is known of the instances now, `clock` monotonic, `draw` gives uniform numbers in [0, 1).
    """

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        checks: HealthChecks,
        clock: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._checks = checks
        self._clock = clock
        self._draw = draw
        self._guarded: dict[InstanceKey, Guarded] = {}
        self._restless: dict[InstanceKey, Guarded] = {}
        """Those that time moves."""
        self._left: dict[InstanceKey, CircuitView] | None = {}
        self._forced: dict[str, Forced] = {}
        self.on_change: OnChange = lambda guarded, before, author: None
        self.on_look: Callable[[], None] = lambda: None
        self.on_gone: Callable[[Collection[InstanceKey]], None] = lambda instance_keys: None

    def __iter__(self) -> Iterator[Guarded]:
        return iter(self._guarded.values())

    @property
    def half_open(self) -> list[Guarded]:
        """Those that trial calls decide."""
        return [one for one in self._restless.values() if one.circuit.state is CircuitState.HALF_OPEN]

    def of(self, instance_key: InstanceKey) -> Guarded | None:
        """The circuit of an instance."""
        return self._guarded.get(instance_key)

    def follow(self, standings: Iterable[MemberState]) -> None:
        """These are the instances that there are; a new incarnation starts with a closed circuit."""
        wanted = {(one.member.instance_id, one.member.incarnation): one for one in standings}
        gone = self._guarded.keys() - wanted.keys()
        for instance_key in gone:
            del self._guarded[instance_key]
            self._restless.pop(instance_key, None)
        if gone:
            self.on_gone(gone)
        for instance_key in wanted.keys() - self._guarded.keys():
            self._enrol(wanted[instance_key].member)

    def left_behind(self, instance_key: InstanceKey, view: CircuitView) -> None:
        """An earlier balancer knew this circuit; what it knew counts if it knew more."""
        guarded = self._guarded.get(instance_key)
        if guarded is not None:
            self._put(guarded, guarded.circuit.adopt(view, self._clock()), inherited=True)
        elif self._left is not None:
            known = self._left.get(instance_key)
            if known is None or view.generation > known.generation:
                self._left[instance_key] = view

    def synced(self) -> None:
        """All instances are known: what was left behind of others is of no use, from now on."""
        if self._left:
            self.on_gone(self._left.keys())
        self._left = None

    def ruled(self, plugin_id: str) -> None:
        """Another policy counts for the plugin."""
        rule = self._fleet().policy(plugin_id).circuit
        for guarded in self._guarded.values():
            if guarded.plugin_id == plugin_id:
                self._put(guarded, guarded.circuit.under(rule))

    def record(self, key: CountKey, counts: CallCounts) -> None:
        """What is new in a caller's counts."""
        guarded = self._guarded.get((key.instance_id, key.incarnation))
        if guarded is not None:
            circuit = guarded.circuit.record(key.generation, counts, self._clock(), self._draw())
            self._put(guarded, circuit)

    def health_is_back(self, instance_key: InstanceKey, reason: str) -> None:
        """The instance serves again: a trial call has to show it, unless its circuit is open anyway."""
        guarded = self._guarded.get(instance_key)
        if guarded is not None:
            self._put(guarded, guarded.circuit.readmit(self._clock(), reason))
            self.on_look()

    def grant(self, guarded: Guarded, permit_id: str, until: float) -> None:
        """A permit goes out."""
        self._put(guarded, guarded.circuit.grant(permit_id, until))

    def extend(self, guarded: Guarded, permit_id: str, until: float) -> None:
        """Its call is under way, and may be until then."""
        self._put(guarded, guarded.circuit.extend(permit_id, until))

    def settle(self, guarded: Guarded, permit_id: str, ok: bool, failure: CallFailure | None) -> None:
        """A trial call has ended."""
        self._put(guarded, guarded.circuit.settle(permit_id, ok, failure, self._clock(), self._draw()))

    def give_back(self, guarded: Guarded, permit_id: str) -> None:
        """A permit has not been used."""
        self._put(guarded, guarded.circuit.give_back(permit_id))

    def force(self, guarded: Guarded, forced: Forced) -> None:
        """An operator decides, until an operator decides otherwise: also for later incarnations of its tenure."""
        self.remember(forced)
        order = _order(forced.state, forced.author)
        self._put(guarded, guarded.circuit.force(forced.state, order, self._clock()), forced.author)

    def reset(self, guarded: Guarded, author: Author) -> None:
        """An operator takes back what was forced, and everything that is on record."""
        self._forced.pop(guarded.instance_key[0], None)
        self._put(guarded, guarded.circuit.reset(f"reset by {_named(author)}", self._clock()), author)

    def remember(self, forced: Forced) -> None:
        """An operator forced this before the balancer was started."""
        self._forced[forced.instance_id] = forced

    def forget(self, instance_id: str) -> None:
        """What an operator forced counts no more for later incarnations."""
        self._forced.pop(instance_id, None)

    def lose(self, guarded: Guarded, permit_id: str) -> None:
        """The caller that held a permit is gone."""
        self._put(guarded, guarded.circuit.lose(permit_id, self._clock(), self._draw()))

    def look(self) -> float | None:
        """Do what is due; returns the moment when something is due next, None if nothing is."""
        now = self._clock()
        for guarded in list(self._restless.values()):
            with contained(f"the circuit of {guarded.instance_key[0]}", failed=partial(_pass_over, guarded, now)):
                self._put(guarded, guarded.circuit.expire(now, self._draw()))
                if guarded.circuit.is_due(now) and now >= guarded.asked_until and self._serves(guarded):
                    self._ask(guarded)
        moments = [
            max(moment, guarded.asked_until)
            for guarded in self._restless.values()
            if (moment := guarded.circuit.next_look()) is not None and self._serves(guarded)
        ]
        return min(moments, default=None)

    def _ask(self, guarded: Guarded) -> None:
        guarded.asked_until = self._clock() + ANSWER_DEADLINE
        generation = guarded.circuit.generation

        def answered(passed: bool) -> None:
            guarded.asked_until = 0.0
            if guarded.circuit.generation == generation:
                self._put(guarded, guarded.circuit.checked(passed, self._clock(), self._draw()))
            self.on_look()

        self._checks.ask(*guarded.instance_key, answered)

    def _serves(self, guarded: Guarded) -> bool:
        """An instance that does not serve is left alone until it does."""
        standing = self._fleet().standings.get(guarded.instance_key[0])
        return standing is not None and standing.verdict.health is Health.SERVING

    def _enrol(self, member: Member) -> None:
        plugin_id, instance_key = member.plugin_id, (member.instance_id, member.incarnation)
        circuit, now = Circuit(rule=self._fleet().policy(plugin_id).circuit), self._clock()
        guarded = self._guarded[instance_key] = Guarded(plugin_id, instance_key, circuit, member.tenure)
        left = self._left.pop(instance_key, None) if self._left is not None else None
        if left is not None:
            circuit = circuit.adopt(left, now)
        forced = self._forced.get(instance_key[0])
        if forced is not None and forced.tenure in ("", member.tenure):
            circuit = circuit.force(forced.state, _order(forced.state, forced.author), now)
        self._put(guarded, circuit, inherited=True)

    def _put(
        self, guarded: Guarded, circuit: Circuit, author: Author | None = None, *, inherited: bool = False
    ) -> None:
        before, guarded.circuit = guarded.circuit, circuit
        if before.view() != circuit.view():
            if circuit.state in _RESTLESS:
                self._restless[guarded.instance_key] = guarded
            else:
                self._restless.pop(guarded.instance_key, None)
            self.on_change(guarded, None if inherited else before.state, author)
            self.on_look()


def _order(state: CircuitState, author: Author) -> str:
    return f"{state.value} by {_named(author)}"


def _named(author: Author) -> str:
    return f"{author.actor}: {author.reason}" if author.reason else author.actor


def _pass_over(guarded: Guarded, now: float) -> None:
    """Looked at again at once, it would fail again."""
    guarded.asked_until = now + ANSWER_DEADLINE
