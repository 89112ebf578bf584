"""Endpoints and snapshots as the routing tests need them."""

from functools import partial
from typing import Any

from forgemesh.routing import pick as picking
from forgemesh.routing.endpoint import Endpoint, Health
from forgemesh.routing.policy import DEFAULT
from forgemesh.routing.snapshot import Revision, Snapshot


def endpoint(instance_id: str, **facts: Any) -> Endpoint:
    given: dict[str, Any] = {
        "incarnation": 1,
        "address": "127.0.0.1:7000",
        "plugin_version": "1.0.0",
        "health": Health.SERVING,
    }
    return Endpoint(instance_id=instance_id, **(given | facts))


def snapshot(*endpoints: Endpoint) -> Snapshot:
    return Snapshot("weather.stats", Revision(1, 1), DEFAULT, endpoints)


def named(*instance_ids: str) -> Snapshot:
    return snapshot(*(endpoint(instance_id) for instance_id in instance_ids))


def no_draw() -> float:
    raise AssertionError("nothing is left to chance here")


pick = partial(picking.pick, draw=no_draw)
