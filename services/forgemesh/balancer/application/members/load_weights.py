"""What each instance is worth by the load that it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from forgemesh.balancer.domain.caller import InstanceKey
from forgemesh.balancer.domain.fleet import Fleet, Member
from forgemesh.balancer.ports import LoadReports
from forgemesh.routing.load_weight import LoadReport, LoadWeight


class LoadWeights:
    """Listens to the instances of plugins whose calls are spread by load; `clock` is monotonic."""

    def __init__(self, fleet: Callable[[], Fleet], reports: LoadReports, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._reports = reports
        self._clock = clock
        self._weights: dict[InstanceKey, LoadWeight] = {}
        self.on_report: Callable[[str], None] = lambda plugin_id: None

    def follow(self) -> None:
        """Instances or policies have changed."""
        members = list(self._members())
        instance_keys = {(member.instance_id, member.incarnation) for member in members}
        self._weights = {
            instance_key: weight for instance_key, weight in self._weights.items() if instance_key in instance_keys
        }
        self._reports.follow(members, self._heard)

    def of(self, instance_key: InstanceKey) -> float:
        """By gRFC A58; 0 if it is not known."""
        known = self._weights.get(instance_key)
        return 0.0 if known is None else known.weight(self._clock())

    def _members(self) -> Iterable[Member]:
        fleet = self._fleet()
        weighed = {
            plugin_id
            for plugin_id, policy in fleet.policies.items()
            if any(pick.heeds_reports for pick in policy.picks)
        }
        for standing in fleet.standings.values() if weighed else ():
            if standing.member.plugin_id in weighed and standing.member.has_process:
                yield standing.member

    def _heard(self, instance_id: str, incarnation: int, report: LoadReport) -> None:
        standing = self._fleet().standing(instance_id, incarnation)
        if standing is not None:
            instance_key = instance_id, incarnation
            self._weights[instance_key] = self._weights.get(instance_key, LoadWeight()).reported(report, self._clock())
            self.on_report(standing.member.plugin_id)
