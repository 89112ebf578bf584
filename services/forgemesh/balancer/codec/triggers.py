"""What KEDA asks about, as messages."""

from __future__ import annotations

import difflib
import math

from semantic_version import Version

from forgemesh.api.keda.v1 import external_scaler_service_pb2 as pb
from forgemesh.balancer.codec.events import LONGEST_NAME
from forgemesh.balancer.domain.trigger import Trigger
from forgemesh.chassis.violations import Violations
from forgemesh.routing.scaling import PARTS

METRIC = "forgemesh-calls"
TARGET = 0.7
HIGHEST_TARGET = 10.0
MOST_REPLICAS = 2**31 - 1
OURS = ("plugin", "version", "targetUtilization", "minReplicas", "maxReplicas")
KEDAS = ("scalerAddress", "enableTLS", "unsafeSsl", "caCert", "tlsClientCert", "tlsClientKey", "tlsCertFile")
"""What KEDA reads itself, and passes on with the rest."""
_SHOWN = 64
_PLACE = "scalerMetadata"


def trigger(ref: pb.ScaledObjectRef) -> Trigger:
    """What the metadata of a trigger asks about; raises InvalidRequest, with all that is wrong."""
    said, found = dict(ref.scalerMetadata), Violations()
    for key in sorted(said.keys() - {*OURS, *KEDAS}):
        found.unless(False, f"{_PLACE}.{key[:_SHOWN]}", _unknown(key))
    plugin_id, version = said.get("plugin", ""), said.get("version", "")
    named = 0 < len(plugin_id) <= LONGEST_NAME
    found.unless(named, f"{_PLACE}.plugin", f"must name the plugin in 1 to {LONGEST_NAME} characters")
    exact = not version or (len(version) <= LONGEST_NAME and _is_version(version))
    found.unless(exact, f"{_PLACE}.version", "must be one version such as 1.2.0, or left out for all of them")
    target = _number(said.get("targetUtilization", str(TARGET)))
    sensible = 0 < target <= HIGHEST_TARGET
    found.unless(sensible, f"{_PLACE}.targetUtilization", f"must be a share above 0 and up to {HIGHEST_TARGET:g}")
    _check_replicas(said, found)
    found.refuse()
    return Trigger(plugin_id, version, target)


def measured(request: pb.GetMetricsRequest) -> Trigger:
    """The same where a metric is asked for by its name; raises InvalidRequest."""
    found = Violations()
    known = request.metricName in ("", METRIC)
    found.unless(known, "metricName", f"must be {METRIC}, as GetMetricSpec has it")
    found.refuse()
    return trigger(request.scaledObjectRef)


def spec_to_message(share: int) -> pb.GetMetricSpecResponse:
    """How many thousandths of a call a pod should have."""
    whole = max(1, share // PARTS)
    spec = pb.MetricSpec(metricName=METRIC, targetSize=whole, targetSizeFloat=calls_of(share))
    return pb.GetMetricSpecResponse(metricSpecs=[spec])


def value_to_message(calls: int) -> pb.GetMetricsResponse:
    """How many calls run and wait."""
    value = pb.MetricValue(metricName=METRIC, metricValue=calls, metricValueFloat=calls)
    return pb.GetMetricsResponse(metricValues=[value])


def calls_of(share: int) -> float:
    """Thousandths as a number of which KEDA, who cuts off what is less than one, makes the same thousandths again."""
    calls = share / PARTS
    return calls if int(calls * PARTS) == share else math.nextafter(calls, math.inf)


def _check_replicas(said: dict[str, str], found: Violations) -> None:
    """They are the ScaledObject's bounds, said once more for people; only their sense is looked at."""
    least, most = _count(said.get("minReplicas", "0")), _count(said.get("maxReplicas", str(MOST_REPLICAS)))
    for key, number in (("minReplicas", least), ("maxReplicas", most)):
        found.unless(0 <= number <= MOST_REPLICAS, f"{_PLACE}.{key}", "must be a whole number from 0")
    found.unless(least <= most or min(least, most) < 0, f"{_PLACE}.minReplicas", "must not be above maxReplicas")


def _unknown(key: str) -> str:
    close = difflib.get_close_matches(key, OURS, n=1) if len(key) <= _SHOWN else []
    return f"is no key of this scaler; did you mean {close[0]}?" if close else f"is no key; known: {', '.join(OURS)}"


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except ValueError:
        return False
    return True


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _SHOWN else -1
