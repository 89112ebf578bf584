import pytest

from forgemesh.api.supervisor.v1 import host_pb2
from forgemesh.cli.mesh.readiness import Instance


def instance(state: str, address: str = "", **fields: object) -> Instance:
    known = {"instance_id": "stats-1", "state": host_pb2.HostState.Value(f"HOST_STATE_{state}"), **fields}
    return Instance(host_pb2.Host(**known), address)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "ready", "stuck"),
    [
        (instance("READY", "127.0.0.1:1"), True, False),
        (instance("DEGRADED", "127.0.0.1:1"), True, False),
        (instance("READY"), False, False),
        (instance("STARTING"), False, False),
        (instance("HANDSHAKING"), False, False),
        (instance("HANDSHAKING", missing=["shop.stock"]), False, True),
        (instance("INITIALIZING", restarts=1), False, True),
        (instance("BACKOFF"), False, True),
        (instance("CRASH_LOOP"), False, True),
        (instance("STOPPED", plugin_id="weather.stats"), True, True),
        (
            instance(
                "STOPPED",
                plugin_id="weather.stats",
                history=[host_pb2.HostTransition(phase=host_pb2.HOST_PHASE_SERVING)],
            ),
            False,
            True,
        ),
    ],
)
def test_who_can_be_called_and_who_is_not_worth_waiting_for(found: Instance, ready: bool, stuck: bool) -> None:
    assert (found.is_ready, found.is_stuck) == (ready, stuck)
