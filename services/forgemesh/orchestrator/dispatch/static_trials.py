"""Trial calls that this process lets itself make while the balancer, who would decide about them, is not there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.routing.eligibility import Permit
from forgemesh.routing.endpoint import CircuitState, CircuitView, Endpoint
from forgemesh.routing.local_breaker import Registration
from forgemesh.routing.outcome import PermitOutcome, PermitUse
from forgemesh.routing.snapshot import Snapshot

Amend: TypeAlias = Callable[[str, Endpoint], None]

_WAITS = (CircuitState.OPEN, CircuitState.HALF_OPEN)


@dataclass(slots=True, eq=False)
class StaticTrials:
    """
    A circuit that was open when the balancer was lost stays so until its time is over. Then this process makes one
    trial call in a time drawn from [0, the time for which the circuit opens), again and again until one is answered:
    several processes, each for itself, make about one in that time each.

    `snapshots` are the newest ones, `amend` changes one endpoint in the snapshot of its plugin, `name` begins the ids
    of permits and is no other process's.
    """

    name: str
    recorder: OutcomeRecorder
    snapshots: Callable[[], Collection[Snapshot]]
    amend: Amend
    _due: dict[Registration, float] = field(default_factory=dict)
    _granted: dict[str, tuple[str, Registration]] = field(default_factory=dict)
    _number: int = 0

    def __post_init__(self) -> None:
        self.recorder.permits.settled.add(self._take)

    def look(self) -> None:
        """Grant what is due; to be called now and then as long as the balancer is not there."""
        now = self.recorder.clock()
        under_way = {registration for _, registration in self._granted.values()}
        for snapshot in list(self.snapshots()):
            for endpoint in snapshot.endpoints:
                registration = (endpoint.instance_id, endpoint.incarnation)
                if registration not in under_way and _is_over(endpoint, now) and self._is_due(registration, snapshot):
                    self._grant(snapshot, endpoint)

    def end(self) -> None:
        """The balancer is back and decides."""
        self._due.clear()
        for permit_id in list(self._granted):
            self.recorder.permits.give_back(permit_id)
        self._granted.clear()

    def _is_due(self, registration: Registration, snapshot: Snapshot) -> bool:
        now = self.recorder.clock()
        if registration not in self._due:
            self._due[registration] = now + self.recorder.draw() * snapshot.policy.circuit.open
        return self._due[registration] <= now

    def _grant(self, snapshot: Snapshot, endpoint: Endpoint) -> None:
        registration = (endpoint.instance_id, endpoint.incarnation)
        del self._due[registration]
        self._number += 1
        permit = Permit(f"{self.name}-{self._number}", endpoint.incarnation, endpoint.circuit.generation)
        self._granted[permit.permit_id] = (snapshot.plugin_id, registration)
        self._move(snapshot.plugin_id, endpoint, CircuitState.HALF_OPEN)
        use_by = self.recorder.clock() + snapshot.policy.circuit.permit_lease
        self.recorder.permits.grant(snapshot.plugin_id, endpoint.instance_id, permit, use_by, own=True)
        self.recorder.picks_changed.tell(snapshot.plugin_id)

    def _take(self, outcome: PermitOutcome) -> None:
        if outcome.use is PermitUse.STARTED or outcome.permit_id not in self._granted:
            return
        plugin_id, registration = self._granted.pop(outcome.permit_id)
        for snapshot in self.snapshots():
            for endpoint in snapshot.endpoints if snapshot.plugin_id == plugin_id else ():
                if registration == (endpoint.instance_id, endpoint.incarnation):
                    self._settle(snapshot, endpoint, outcome.use)
                    return

    def _settle(self, snapshot: Snapshot, endpoint: Endpoint, use: PermitUse) -> None:
        if endpoint.circuit.state is not CircuitState.HALF_OPEN:  # somebody else has decided meanwhile
            return
        if use is PermitUse.SUCCEEDED:
            self._move(snapshot.plugin_id, endpoint, CircuitState.CLOSED)
        elif use is PermitUse.FAILED:
            until = self.recorder.clock() + snapshot.policy.circuit.open
            self._move(snapshot.plugin_id, endpoint, CircuitState.OPEN, until)

    def _move(self, plugin_id: str, endpoint: Endpoint, state: CircuitState, until: float = 0.0) -> None:
        """The generation stays: only a balancer begins a new one."""
        view: CircuitView = replace(endpoint.circuit, state=state, open_until=until)
        self.amend(plugin_id, replace(endpoint, circuit=view))


def _is_over(endpoint: Endpoint, now: float) -> bool:
    """Whether the circuit waits for a trial call that the balancer would have granted by now."""
    circuit = endpoint.circuit
    return circuit.state in _WAITS and (circuit.state is CircuitState.HALF_OPEN or circuit.open_until <= now)
