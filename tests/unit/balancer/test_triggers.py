from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from forgemesh.api.keda.v1 import external_scaler_service_pb2 as pb
from forgemesh.balancer.codec import triggers
from forgemesh.balancer.domain.trigger import Trigger
from forgemesh.faults.service import InvalidRequest
from forgemesh.routing.scaling import PARTS


def asked(**metadata: str) -> pb.ScaledObjectRef:
    return pb.ScaledObjectRef(name="stats", namespace="mesh", scalerMetadata={"plugin": "weather.stats", **metadata})


def test_a_trigger_asks_about_a_plugin_at_the_usual_target() -> None:
    assert triggers.trigger(asked()) == Trigger("weather.stats", "", 0.7)


def test_a_trigger_may_ask_about_one_version_at_another_target() -> None:
    ref = asked(version="1.2.0-rc.1", targetUtilization="1.5", minReplicas="0", maxReplicas="4", scalerAddress="b:7403")

    assert triggers.trigger(ref) == Trigger("weather.stats", "1.2.0-rc.1", 1.5)


@pytest.mark.parametrize(
    ("metadata", "field", "message"),
    [
        ({"plugin": ""}, "plugin", "must name the plugin"),
        ({"plugin": "x" * 1000}, "plugin", "must name the plugin"),
        ({"version": "^1.2"}, "version", "must be one version"),
        ({"version": "1.2"}, "version", "must be one version"),
        *(
            ({"targetUtilization": said}, "targetUtilization", "must be a share")
            for said in ("", "0", "-1", "nan", "inf", "70%", "11")
        ),
        *(({"minReplicas": said}, "minReplicas", "must be a whole number") for said in ("", "-1", "1.5", "two", "²")),
        ({"maxReplicas": "9" * 5000}, "maxReplicas", "must be a whole number"),
        ({"minReplicas": "3", "maxReplicas": "2"}, "minReplicas", "must not be above maxReplicas"),
        ({"targetUtilisation": "0.5"}, "targetUtilisation", "did you mean targetUtilization?"),
        ({"quux": "1"}, "quux", "is no key; known: plugin, version"),
    ],
)
def test_what_is_wrong_with_the_metadata_is_said_by_its_key(metadata: dict[str, str], field: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        triggers.trigger(asked(**metadata))

    (violation,) = refused.value.violations
    assert violation.field == f"scalerMetadata.{field}"
    assert message in violation.message


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidRequest) as refused:
        triggers.trigger(asked(plugin="", version="one", targetUtilization="high"))

    assert len(refused.value.violations) == 3


def test_another_metric_than_that_of_the_specification_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="metricName"):
        triggers.measured(pb.GetMetricsRequest(scaledObjectRef=asked(), metricName="queue-length"))


@given(st.integers(1, 10**9))
def test_keda_reads_the_target_that_is_meant(share: int) -> None:
    """It multiplies by a thousand and cuts off the rest."""
    (spec,) = triggers.spec_to_message(share).metricSpecs

    assert int(spec.targetSizeFloat * PARTS) == share
    assert 1 <= spec.targetSize <= max(1, spec.targetSizeFloat)


def test_an_instance_runs_as_many_calls_as_the_manifest_of_its_version_says() -> None:
    published = {"1.0.0": 4, "2.0.0": 8, "2.1.0": 0, "3.0.0-rc.1": 32}

    assert Trigger("p", "1.0.0", 0.7).capacity(published, []) == 4
    assert Trigger("p", "2.1.0", 0.7).capacity(published, []) == 16
    assert Trigger("p", "", 0.7).capacity(published, []) == 16
    assert Trigger("p", "", 0.7).capacity(published, ["1.0.0", "2.0.0"]) == 8
    assert Trigger("p", "", 0.7).capacity({"3.0.0-rc.1": 32}, []) == 32


def test_a_version_that_runs_without_a_manifest_has_the_usual_capacity() -> None:
    assert Trigger("p", "1.0.0", 0.7).capacity({}, ["1.0.0"]) == 16
    assert Trigger("p", "", 0.7).capacity({}, ["1.0.0"]) == 16


def test_nothing_is_known_of_what_neither_runs_nor_was_published() -> None:
    assert Trigger("p", "", 0.7).capacity({}, []) is None
    assert Trigger("p", "9.0.0", 0.7).capacity({"1.0.0": 4}, ["1.0.0"]) is None
