from forgemesh.api.balancer.v1 import balancer_service_pb2 as service_pb, report_pb2 as report_pb
from forgemesh.api.registry.v1 import instance_pb2
from forgemesh.balancer.codec import feed as codec
from forgemesh.balancer.domain.policies import LONGEST_NAME
from tests.unit.balancer.members import member


def test_a_registered_instance_becomes_a_member_with_the_defaults_written_out() -> None:
    message = instance_pb2.Instance(
        instance_id="a", plugin_id="weather.stats", plugin_version="1.0.0", address="127.0.0.1:7001", incarnation=4
    )

    assert codec.member(message) == member("a", 4, health_address="127.0.0.1:7001")


NAMES = ("a" * LONGEST_NAME, "a" * (LONGEST_NAME + 1), "")


def test_of_what_a_subscriber_says_nothing_is_kept_under_a_name_that_nobody_can_have() -> None:
    fits = NAMES[0]
    report = report_pb.OutcomeReport(
        counts=[report_pb.CallCounts(plugin_id=one, instance_id=other) for one in NAMES for other in NAMES],
        demands=[report_pb.PluginDemand(plugin_id=one, waiting=1) for one in NAMES],
        permits=[report_pb.PermitOutcome(permit_id=one, use=report_pb.PERMIT_USE_SUCCEEDED) for one in NAMES],
    )
    hello = service_pb.SubscriberHello(circuits=[report_pb.KnownCircuit(instance_id=one) for one in NAMES])

    assert [one.key[:2] for one in codec.told(report.counts)] == [(fits, fits)]
    assert [one.plugin_id for one in codec.demands(report)] == [fits]
    assert [one.permit_id for one in codec.permits(report)] == [fits]
    assert [instance_key[0] for instance_key, _ in codec.known_circuits(hello, 0.0)] == [fits]
