from forgemesh.api.balancer.v1 import snapshot_pb2 as pb
from forgemesh.api.registry.v1 import instance_pb2
from forgemesh.balancer import codec
from forgemesh.balancer.domain.fleet import Fleet
from forgemesh.routing.endpoint import Admission, CircuitState, CircuitView, Endpoint, Health
from forgemesh.routing.snapshot import Policy, Revision, Snapshot
from tests.unit.balancer.members import GONE_SILENT, member


def test_a_registered_instance_becomes_a_member_with_the_defaults_written_out() -> None:
    message = instance_pb2.Instance(
        instance_id="a", plugin_id="weather.stats", plugin_version="1.0.0", address="127.0.0.1:7001", incarnation=4
    )

    assert codec.member(message) == member("a", 4, health_address="127.0.0.1:7001")


def test_a_snapshot_says_everything_with_ages_instead_of_times() -> None:
    known = member("a", 4, admission=Admission.DRAINING, session=True, weight=2, tier=1, max_in_flight=8, zone="north")
    fleet = Fleet(epoch=9).listed([known], now=100.0).judged("a", 4, GONE_SILENT, now=101.0)

    assert codec.to_message(fleet.snapshot("weather.stats"), now=103.5) == pb.PluginSnapshot(
        plugin_id="weather.stats",
        revision=pb.FeedRevision(epoch=9, revision=2),
        policy=pb.POLICY_ROUND_ROBIN,
        endpoints=[
            pb.Endpoint(
                instance_id="a",
                incarnation=4,
                address="127.0.0.1:7001",
                plugin_version="1.0.0",
                health=pb.HEALTH_UNREACHABLE,
                admission=pb.ADMISSION_DRAINING,
                circuit=pb.Circuit(state=pb.CIRCUIT_STATE_CLOSED),
                weight=2,
                tier=1,
                max_in_flight=8,
                session=True,
                zone="north",
                health_reason="no answer",
                health_age_millis=2_500,
            )
        ],
    )


def test_an_open_circuit_says_for_how_long() -> None:
    endpoint = Endpoint(
        instance_id="a",
        incarnation=1,
        address="127.0.0.1:7001",
        plugin_version="1.0.0",
        health=Health.SERVING,
        circuit=CircuitView(CircuitState.OPEN, generation=5, open_until=112.0),
    )
    message = codec.to_message(Snapshot("p", Revision(1, 1), Policy.ROUND_ROBIN, (endpoint,)), now=110.0)

    assert message.endpoints[0].circuit == pb.Circuit(state=pb.CIRCUIT_STATE_OPEN, generation=5, open_for_millis=2_000)
