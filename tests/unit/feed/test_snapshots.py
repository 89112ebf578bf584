from forgemesh.feed.snapshots import snapshot_from_message, snapshot_to_message
from forgemesh.routing.endpoint import Admission, CircuitState, CircuitView, Endpoint, Health
from forgemesh.routing.policy import DEFAULT, PluginPolicy, Policy
from forgemesh.routing.snapshot import Revision, Snapshot


def endpoint(**changes: object) -> Endpoint:
    known: dict[str, object] = {
        "instance_id": "a",
        "incarnation": 4,
        "address": "127.0.0.1:7001",
        "plugin_version": "1.0.0",
        "health": Health.SERVING,
    }
    return Endpoint(**(known | changes))  # type: ignore[arg-type]


def test_a_snapshot_reads_as_it_was_written_with_ages_counted_from_its_receipt() -> None:
    one = endpoint(
        health=Health.UNREACHABLE,
        health_reason="no answer",
        health_since=101.0,
        admission=Admission.DRAINING,
        admission_reason="reload",
        circuit=CircuitView(CircuitState.OPEN, 5, 112.0, "5 failures in a row", "00-a-b-01"),
        ejected=True,
        warming_since=90.0,
        weight=2,
        tier=1,
        max_in_flight=8,
        in_flight=3,
        session=True,
        zone="north",
        manifest_digest="ab12",
    )
    policy = PluginPolicy(pick=Policy.LEAST_CONNECTIONS, panic_threshold=0.5)

    message = snapshot_to_message(Snapshot("p", Revision(9, 2), policy, (one,)), now=103.5)
    read = snapshot_from_message(message, now=203.5)

    moved = endpoint(
        **{name: getattr(one, name) for name in Endpoint.__slots__}
        | {
            "health_since": 201.0,
            "warming_since": 190.0,
            "circuit": CircuitView(CircuitState.OPEN, 5, 212.0, "5 failures in a row", "00-a-b-01"),
        }
    )
    assert read == Snapshot("p", Revision(9, 2), policy, (moved,))


def test_states_that_this_release_does_not_know_are_read_as_the_most_careful_ones() -> None:
    message = snapshot_to_message(Snapshot("p", Revision(9, 2), DEFAULT, (endpoint(),)), now=0.0)
    message.endpoints[0].health = 77  # type: ignore[assignment]
    message.endpoints[0].admission = 77  # type: ignore[assignment]
    message.endpoints[0].circuit.state = 77  # type: ignore[assignment]

    (read,) = snapshot_from_message(message, now=0.0).endpoints

    assert read.health is Health.UNCHECKED
    assert read.admission is Admission.OUT
    assert read.circuit.state is CircuitState.OPEN
