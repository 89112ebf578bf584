from forgemesh.api.registry.v1 import instance_pb2
from forgemesh.balancer.codec import feed as codec
from tests.unit.balancer.members import member


def test_a_registered_instance_becomes_a_member_with_the_defaults_written_out() -> None:
    message = instance_pb2.Instance(
        instance_id="a", plugin_id="weather.stats", plugin_version="1.0.0", address="127.0.0.1:7001", incarnation=4
    )

    assert codec.member(message) == member("a", 4, health_address="127.0.0.1:7001")
