"""Half-open circuits of instances that only those call who cannot make trial calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from forgemesh.balancer.application.circuits.circuits import Circuits
from forgemesh.balancer.application.circuits.permits import PermitDealer
from forgemesh.balancer.domain.caller import Caller
from forgemesh.balancer.ports import HealthChecks
from forgemesh.routing.outcome import CallFailure, PermitOutcome, PermitUse

UNTRIED = 3.0
"""Seconds for which somebody who calls it may come for the permit of a half-open circuit."""
UNAVAILABLE = 14
FAILURE = CallFailure(code=UNAVAILABLE, message="the health check did not pass")


class HealthTrials:
    """
    Lets a health check stand for a trial call where nobody else makes one, so that an instance does not stay out for
    ever. `is_followed` says whether clients follow a plugin that cannot make trial calls, `clock` is monotonic.
    """

    def __init__(
        self,
        circuits: Circuits,
        permits: PermitDealer,
        checks: HealthChecks,
        is_followed: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self._circuits = circuits
        self._permits = permits
        self._checks = checks
        self._is_followed = is_followed
        self._clock = clock
        self._caller = Caller("health trials", "", clock())

    def look(self) -> None:
        """Try what is vacant although permits have been dealt."""
        now = self._clock()
        for guarded in self._circuits.half_open:
            circuit = guarded.circuit
            if circuit.vacant and now >= circuit.changed_at + UNTRIED and self._is_followed(guarded.plugin_id):
                self._caller.heard_at = now
                grant = self._permits.take(guarded, self._caller)
                self._checks.ask(*guarded.instance_key, partial(self._answered, grant.permit_id))

    def _answered(self, permit_id: str, passed: bool) -> None:
        use = PermitUse.SUCCEEDED if passed else PermitUse.FAILED
        self._permits.settled(PermitOutcome(permit_id, use, None if passed else FAILURE))
