import pytest

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.faults.service import InvalidRequest
from forgemesh.registry.codec import instances, requests
from forgemesh.registry.domain.instance import Registration


def request() -> pb.RegisterInstanceRequest:
    return pb.RegisterInstanceRequest(
        instance=instance_pb2.Instance(
            instance_id="stats-1", plugin_id="weather.stats", plugin_version="1.0.0", address="127.0.0.1:7001"
        ),
        owner_token="secret",
    )


def refused(wrong: pb.RegisterInstanceRequest) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        requests.registration(wrong, default_ttl=15.0)
    return {violation.field: violation.message for violation in caught.value.violations}


def test_a_registration_without_a_lease_time_gets_the_default() -> None:
    instance, owner, ttl = requests.registration(request(), default_ttl=15.0)

    assert (instance.instance_id, ttl) == ("stats-1", 15.0)
    assert b"secret" not in owner


def test_everything_that_is_wrong_is_said_at_once() -> None:
    wrong = pb.RegisterInstanceRequest()
    wrong.ttl.FromMilliseconds(900)
    wrong.instance.health_address = "nowhere"

    assert set(refused(wrong)) == {
        "instance.instance_id",
        "instance.plugin_id",
        "instance.plugin_version",
        "instance.address",
        "instance.health_address",
        "owner_token",
        "ttl",
    }


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1", ":7001", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:٣", "::1:7001x", "[::g]:7", "a b:1"],
)
def test_an_address_that_cannot_be_dialled_is_refused(address: str) -> None:
    wrong = request()
    wrong.instance.address = address

    assert "instance.address" in refused(wrong)


@pytest.mark.parametrize("address", ["127.0.0.1:7001", "[::1]:1", "stats-0.stats.forgemesh.svc:65535", "localhost:80"])
def test_an_address_that_can_be_dialled_is_taken(address: str) -> None:
    right = request()
    right.instance.address = address

    assert requests.registration(right, default_ttl=15.0)[0].address == address


@pytest.mark.parametrize("seconds", [0.5, 601, -1])
def test_a_lease_time_out_of_range_is_refused(seconds: float) -> None:
    wrong = request()
    wrong.ttl.FromMicroseconds(int(seconds * 1e6))

    assert list(refused(wrong)) == ["ttl"]


def test_a_page_token_from_elsewhere_is_refused() -> None:
    for token in ("junk", "WzFd", "W10="):
        with pytest.raises(InvalidRequest):
            requests.page_of_instances(token)
    with pytest.raises(InvalidRequest):
        requests.page_of_plugins("WyJhIiwgIm5vIHZlcnNpb24iXQ==")


def test_a_manifest_is_checked_in_every_corner() -> None:
    message = manifest_pb2.Manifest(plugin_id="Weather Stats", version="1.0")
    message.provides.add(name="timeseries.summary", version="one")
    message.dependencies.add(version_range="^1")
    for _ in range(2):
        message.operations.add(name="temperature", input_schema="[")

    with pytest.raises(InvalidRequest) as caught:
        requests.manifest(message)

    assert {violation.field for violation in caught.value.violations} == {
        "manifest.plugin_id",
        "manifest.version",
        "manifest.provides[0].version",
        "manifest.dependencies[0].target",
        "manifest.operations[0].name",
        "manifest.operations[1].name",
        "manifest.operations[0].input_schema",
        "manifest.operations[1].input_schema",
    }


def test_a_manifest_depends_neither_on_itself_nor_twice_on_another_nor_in_a_range_that_is_none() -> None:
    message = manifest_pb2.Manifest(plugin_id="weather.stats", version="1.0.0")
    message.operations.add(name="temperature", idempotency=7)
    for _ in range(2):
        message.provides.add(name="timeseries.summary", version="1.0.0")
        message.dependencies.add(plugin_id="weather.reader", version_range="^1")
    message.dependencies.add(plugin_id="weather.stats")
    message.dependencies.add(interface_name="speech", version_range="latest", on_loss=9)
    message.dependencies.add(interface_name="maps", version_range=" " * 300)

    with pytest.raises(InvalidRequest) as caught:
        requests.manifest(message)

    twice = "'weather.reader' must occur once; a range may have several parts, e.g. >=1 <3"
    assert {violation.field: violation.message for violation in caught.value.violations} == {
        "manifest.provides[0].name": "'timeseries.summary' must occur once",
        "manifest.provides[1].name": "'timeseries.summary' must occur once",
        "manifest.dependencies[0].target": twice,
        "manifest.dependencies[1].target": twice,
        "manifest.dependencies[2].target": "'weather.stats' must not depend on itself",
        "manifest.dependencies[3].version_range": "'latest' is not a version range such as ^1.2 or >=1.0.0 <2.0.0",
        "manifest.dependencies[3].on_loss": "must be IGNORE, DEGRADE or STOP",
        "manifest.dependencies[4].version_range": "must have at most 200 characters",
        "manifest.operations[0].idempotency": "must be IDEMPOTENT, NOT_IDEMPOTENT or unset",
    }


def test_equal_manifests_have_equal_content_whatever_the_order_of_their_maps() -> None:
    def message(keys: str) -> manifest_pb2.Manifest:
        made = manifest_pb2.Manifest(plugin_id="weather.stats", version="1.0.0")
        made.operations.add(name="temperature")
        for key in keys:
            made.metadata[key] = key
        return made

    assert requests.manifest(message("abcdefgh")) == requests.manifest(message("hgfedcba"))


def test_a_stored_registration_is_read_back_as_it_was() -> None:
    right = request()
    right.instance.labels["pid"] = "17"
    right.instance.state = instance_pb2.INSTANCE_STATE_DRAINING
    instance, owner, ttl = requests.registration(right, default_ttl=15.0)
    stored = Registration(instance=instance, incarnation=3, owner=owner, ttl=ttl, registered_at=1_764_000_000.25)

    assert instances.from_stored(instances.to_message(stored), owner=owner, ttl=ttl) == stored


@pytest.mark.parametrize("depth", [51, 950, 100_000])
@pytest.mark.parametrize("closed", [True, False])
def test_a_schema_is_nested_at_most_fifty_deep(depth: int, closed: bool) -> None:
    message = manifest_pb2.Manifest(plugin_id="weather.stats", version="1.0.0")
    opening, closing = '{"not":' * depth, "}" * depth if closed else ""
    message.operations.add(name="temperature", input_schema=f"{opening}true{closing}")

    with pytest.raises(InvalidRequest) as caught:
        requests.manifest(message)

    assert [violation.field for violation in caught.value.violations] == ["manifest.operations[0].input_schema"]
