"""Registrations as the registry tests need them."""

from typing import Any

from forgemesh.registry.domain.instance import Claim, Instance
from forgemesh.registry.domain.instances import Instances

MINE, THEIRS = b"mine", b"theirs"


def instance(instance_id: str = "stats-1", **facts: Any) -> Instance:
    given: dict[str, Any] = {"plugin_id": "weather.stats", "plugin_version": "1.0.0", "address": "127.0.0.1:7001"}
    return Instance(instance_id=instance_id, **(given | facts))


def registered(*instance_ids: str, before: Instances | None = None) -> Instances:
    """Each of them registered, in this order."""
    instances = before or Instances(epoch=7)
    for instance_id in instance_ids:
        change = instances.register(instance(instance_id), MINE, 15.0, alive=True, at=0.0)
        instances = instances.after([change])
    return instances


def claim(instances: Instances, instance_id: str = "stats-1", owner: bytes = MINE) -> Claim:
    """What the present owner shows."""
    return Claim(instance_id, instances.registrations[instance_id].incarnation, owner)
