"""Members as the balancer tests need them."""

from typing import Any

from forgemesh.balancer.domain.fleet import Member
from forgemesh.balancer.domain.probe import Verdict
from forgemesh.routing.endpoint import Health

SERVING = Verdict(Health.SERVING)
GONE_SILENT = Verdict(Health.UNREACHABLE, "no answer")


def member(instance_id: str, incarnation: int = 1, **facts: Any) -> Member:
    given: dict[str, Any] = {
        "plugin_id": "weather.stats",
        "plugin_version": "1.0.0",
        "address": "127.0.0.1:7001",
        "health_address": "127.0.0.1:7101",
    }
    return Member(instance_id=instance_id, incarnation=incarnation, **(given | facts))
