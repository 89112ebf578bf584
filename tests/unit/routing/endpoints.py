"""Endpoints and snapshots as the routing tests need them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from forgemesh.routing import pick as picking
from forgemesh.routing.eligibility import LocalView, RemoteLoad
from forgemesh.routing.endpoint import Endpoint, Health
from forgemesh.routing.policy import DEFAULT
from forgemesh.routing.round_robin import Turns
from forgemesh.routing.snapshot import Revision, Snapshot


def endpoint(instance_id: str, **facts: Any) -> Endpoint:
    given: dict[str, Any] = {
        "incarnation": 1,
        "address": "127.0.0.1:7000",
        "plugin_version": "1.0.0",
        "health": Health.SERVING,
    }
    return Endpoint(instance_id=instance_id, **(given | facts))


def snapshot(*endpoints: Endpoint, **rules: Any) -> Snapshot:
    return Snapshot("weather.stats", Revision(1, 1), replace(DEFAULT, **rules), endpoints)


def named(*instance_ids: str) -> Snapshot:
    return snapshot(*(endpoint(instance_id) for instance_id in instance_ids))


def no_draw() -> float:
    raise AssertionError("nothing is left to chance here")


pick = partial(picking.pick, draw=no_draw)


def picked(answer: picking.Picked | picking.NoPick) -> picking.Picked:
    assert isinstance(answer, picking.Picked)
    return answer


def refused(answer: picking.Picked | picking.NoPick) -> picking.NoPick:
    assert isinstance(answer, picking.NoPick)
    return answer


class Caller:
    """Picks again and again, and keeps what a caller keeps."""

    def __init__(self, at: Snapshot, draw: Callable[[], float] = no_draw) -> None:
        self.at = at
        self.draw = draw
        self.cursor = Turns()
        self.in_flight: dict[str, int] = {}
        self.loads: dict[str, RemoteLoad] = {}
        self.view = LocalView(in_flight=self.in_flight, loads=self.loads)

    def choose(self, count: int, **terms: Any) -> str:
        """So many picks, as one string; ids are single letters. Nothing is counted as in flight."""
        chosen = []
        for _ in range(count):
            answer = picked(picking.pick(self.at, self.cursor, self.view, draw=self.draw, **terms))
            self.cursor = answer.cursor
            chosen.append(answer.endpoint.instance_id)
        return "".join(chosen)

    def send(self, **terms: Any) -> str:
        """One pick, which stays in flight."""
        chosen = self.choose(1, **terms)
        self.in_flight[chosen] = self.in_flight.get(chosen, 0) + 1
        return chosen
