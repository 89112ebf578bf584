import pytest

from forgemesh.faults.workflow import HostLost
from forgemesh.orchestrator.dispatch import pending_queue
from forgemesh.orchestrator.dispatch.call_request import Underway, Waiting
from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.orchestrator.workflow.definition import Timeouts
from forgemesh.routing.endpoint import Admission, Endpoint, Health
from tests.component.orchestrator.dispatching import Log, ScriptedCatalogue, call_request, dispatcher_over, key
from tests.component.orchestrator.hosts import Call, ScriptedHosts, endpoint, with_open_circuit
from tests.manual_clock import ManualClock


@pytest.fixture
async def hosts() -> ScriptedHosts:
    return ScriptedHosts()


@pytest.fixture
async def log() -> Log:
    return Log()


@pytest.fixture
async def dispatcher(hosts: ScriptedHosts, log: Log) -> Dispatcher:
    return dispatcher_over(hosts, log)


def sent(hosts: ScriptedHosts) -> list[str]:
    return [call.path for call in hosts.calls]


async def test_everyone_who_waits_has_it_on_record_and_not_only_the_first(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    for path in "abc":
        dispatcher.send(call_request(path))

    assert log.lines == ["a NOT_REGISTERED", "b NOT_REGISTERED", "c NOT_REGISTERED"]
    hosts.show("p", endpoint("i-1", health=Health.NOT_SERVING))
    await log.until("a NONE_HEALTHY", "b NONE_HEALTHY", "c NONE_HEALTHY")
    hosts.show("p", endpoint("i-1", health=Health.NOT_SERVING))
    hosts.show("p", endpoint("i-1"))
    await hosts.call("c")
    assert log.lines[6:] == ["a unblocked", "b unblocked", "c unblocked"]
    assert sent(hosts) == ["a", "b", "c"]


async def test_whoever_came_first_is_served_first(dispatcher: Dispatcher, hosts: ScriptedHosts) -> None:
    hosts.show("p", endpoint("i-1"))
    link = hosts.links("p")["i-1"]
    link.has_room = False
    hosts.tell("p")
    for path, version_range in (("a", ""), ("b", "^1"), ("c", ""), ("d", "^1")):
        dispatcher.send(call_request(path, version_range))

    link.has_room = True
    hosts.tell("p")
    await hosts.call("d")

    assert sent(hosts) == ["a", "b", "c", "d"]


async def test_a_version_that_is_not_there_does_not_hold_up_one_that_is(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", endpoint("i-1", plugin_version="1.4.0"))
    dispatcher.send(call_request("new", "^2"))

    dispatcher.send(call_request("old", "^1"))
    dispatcher.send(call_request("any"))

    assert sent(hosts) == ["old", "any"]
    assert log.lines == ["new NOT_REGISTERED"]
    hosts.show("p", endpoint("i-1", plugin_version="1.4.0"), endpoint("i-2", plugin_version="2.0.0"))
    assert (await hosts.call("new")).instance_id == "i-2"


async def test_one_plugin_does_not_hold_up_another(dispatcher: Dispatcher, hosts: ScriptedHosts) -> None:
    dispatcher.send(call_request("a"))
    hosts.show("q", endpoint("i-1"))

    dispatcher.send(call_request("b", plugin_id="q"))

    assert sent(hosts) == ["b"]


async def test_a_full_plugin_is_put_on_record_only_when_nothing_moves(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_queue, "FULL_NOTICE", 0.25)
    hosts.show("p", endpoint("i-1", max_in_flight=1))
    for path in "abcd":
        dispatcher.send(call_request(path))

    for path, following in ("ab", "bc"):
        (await hosts.call(path)).succeed()
        await hosts.call(following)
    assert "d ALL_FULL" not in log.lines
    await log.until("d ALL_FULL")

    dispatcher.send(call_request("e"))
    assert log.lines[-1] == "e ALL_FULL"
    (await hosts.call("c")).succeed()
    await hosts.call("d")
    assert log.lines[-1] == "d unblocked"


async def test_a_reason_that_changes_is_put_on_record_and_an_older_notice_is_void(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_queue, "FULL_NOTICE", 0.02)
    hosts.show("p", endpoint("i-1", max_in_flight=1))
    dispatcher.send(call_request("running"))
    dispatcher.send(call_request("a"))

    hosts.show("p", with_open_circuit("i-1", 1e9))
    await log.until("a CIRCUIT_OPEN")
    hosts.show("p", endpoint("i-1", max_in_flight=1))
    await log.until("a ALL_FULL")

    assert log.lines == ["a CIRCUIT_OPEN", "a ALL_FULL"]


async def test_a_waiting_call_that_is_taken_back_ends_at_once(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    for path in "abc":
        dispatcher.send(call_request(path))

    dispatcher.cancel(key("b"))
    dispatcher.forget(key("c"))

    failure = log.answers["b"].failure
    assert failure is not None
    assert failure.reason == "CANCELLED"
    assert "c" not in log.answers
    hosts.show("p", endpoint("i-1"))
    await hosts.call("a")
    assert sent(hosts) == ["a"]
    dispatcher.cancel(key("b"))
    dispatcher.cancel(key("unknown"))
    dispatcher.forget(key("unknown"))


async def test_a_call_that_is_forgotten_is_never_heard_of_again(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", endpoint("i-1"))
    dispatcher.send(call_request("a"))
    call = await hosts.call("a")

    dispatcher.forget(key("a"))
    assert call.cancelled
    dispatcher.send(call_request("a", attempt=2))
    call.succeed("of the forgotten one")

    assert log.answers == {}
    (await hosts.call("a", 2)).succeed("of the new one")
    answer = log.answers["a"]
    assert answer.output is not None
    assert answer.output.data == b'"of the new one"'


async def test_a_cancelled_call_that_answers_at_once_has_ended_as_it_says(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", endpoint("i-1"))
    hosts.links("p")["i-1"].on_cancel = lambda call: call.succeed("just in time")
    dispatcher.send(call_request("a"))

    dispatcher.cancel(key("a"))

    assert log.answers["a"].output is not None
    assert dispatcher.explain(key("a")) is None


async def test_a_cancelled_call_that_its_host_never_had_is_cancelled_and_not_lost(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", endpoint("i-1"))
    lost = failure_of(HostLost("i-1", accepted=False), retryable=True)
    hosts.links("p")["i-1"].on_cancel = lambda call: call.fail(lost, accepted=False, sent=False)
    dispatcher.send(call_request("a"))

    dispatcher.cancel(key("a"))

    assert log.reason("a") == "CANCELLED"
    assert not log.answers["a"].sent


async def test_a_call_that_waited_in_its_link_until_its_time_was_over_goes_elsewhere(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", endpoint("i-1"))
    link = hosts.links("p")["i-1"]
    link.unsent.add(1)
    lost = failure_of(HostLost("i-1", accepted=False), retryable=True)

    def cancelled(call: Call) -> None:
        link.usable = False
        hosts.tell("p")
        call.fail(lost, accepted=False, sent=False)

    link.on_cancel = cancelled
    dispatcher.send(call_request("a", timeouts=Timeouts(start_to_close=0.02)))
    await log.until("a NONE_HEALTHY")

    hosts.show("p", endpoint("i-2"))
    await hosts.until(lambda: len(hosts.calls) == 2)
    hosts.calls[-1].succeed(1)

    assert [call.instance_id for call in hosts.calls] == ["i-1", "i-2"]
    assert log.answers["a"].failure is None


async def test_the_instance_that_was_tried_is_taken_again_only_if_there_is_no_other(
    dispatcher: Dispatcher, hosts: ScriptedHosts
) -> None:
    hosts.show("p", endpoint("i-1"), endpoint("i-2"))
    for number in range(4):
        dispatcher.send(call_request(f"a{number}", tried=frozenset({"i-1"})))

    hosts.show("p", endpoint("i-1"))
    dispatcher.send(call_request("b", tried=frozenset({"i-1"})))

    assert [call.instance_id for call in hosts.calls] == ["i-2"] * 4 + ["i-1"]


async def test_a_broken_link_is_out_before_any_snapshot_says_so(dispatcher: Dispatcher, hosts: ScriptedHosts) -> None:
    hosts.show("p", endpoint("i-1"), endpoint("i-2"))
    hosts.links("p")["i-1"].usable = False
    hosts.tell("p")

    for number in range(3):
        dispatcher.send(call_request(f"a{number}"))

    assert {call.instance_id for call in hosts.calls} == {"i-2"}
    assert hosts.calls[0].invocation.remaining == 60.0


async def test_a_dispatch_explains_itself(dispatcher: Dispatcher, hosts: ScriptedHosts) -> None:
    out: Endpoint = endpoint("i-1", health=Health.UNREACHABLE)
    hosts.show("p", out, endpoint("i-2", plugin_version="1.2.3", incarnation=7))
    dispatcher.send(call_request("a"))

    running = dispatcher.explain(key("a"))

    assert isinstance(running, Underway)
    assert running.dispatch.excluded == ("i-1: unreachable",)
    assert (running.dispatch.candidates, running.dispatch.eligible) == (2, 1)
    assert (running.dispatch.instance_id, running.dispatch.incarnation) == ("i-2", 7)
    assert running.dispatch.plugin_version == "1.2.3"


async def test_a_thousand_that_wait_cost_little_as_long_as_they_wait(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", endpoint("i-1", max_in_flight=1))
    looks = 0
    real = hosts.snapshot

    def counted(plugin_id: str) -> object:
        nonlocal looks
        looks += 1
        return real(plugin_id)

    hosts.snapshot = counted  # type: ignore[method-assign, assignment]
    for number in range(1000):
        dispatcher.send(call_request(f"a{number}", "^1"))

    for number in range(100):
        (await hosts.call(f"a{number}")).succeed()
    await hosts.call("a100")

    assert looks <= 2 + 2 * 100


def crashed(instance_id: str) -> Endpoint:
    return endpoint(instance_id, admission=Admission.CRASH_LOOP, admission_reason="out of memory")


async def test_what_waits_for_a_person_fails_at_once_and_says_why(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", crashed("i-1"), crashed("i-2"))

    dispatcher.send(call_request("a"))
    dispatcher.send(call_request("b"))
    await log.until("a answered", "b answered")

    failure = log.answers["a"].failure
    assert failure is not None
    assert (failure.reason, failure.retryable) == ("PLUGIN_CRASH_LOOP", False)
    assert "'i-2' last: out of memory" in failure.message
    assert sent(hosts) == []


async def test_what_waits_goes_on_waiting_as_long_as_one_instance_may_come_back(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", crashed("i-1"), endpoint("i-2", health=Health.NOT_SERVING))
    for path in ("a", "b"):
        dispatcher.send(call_request(path))
    assert log.lines == ["a NONE_HEALTHY", "b NONE_HEALTHY"]

    hosts.show("p", crashed("i-1"), crashed("i-2"))
    await log.until("a answered", "b answered")

    assert log.reason("a") == log.reason("b") == "PLUGIN_CRASH_LOOP"
    assert dispatcher.explain(key("a")) is None


async def test_how_long_a_circuit_stays_open_is_told_as_it_is_when_somebody_asks(
    hosts: ScriptedHosts, log: Log
) -> None:
    clock = ManualClock()
    recorder = OutcomeRecorder(clock=clock.monotonic)
    providers = Providers(ScriptedCatalogue())
    dispatcher = Dispatcher(hosts, recorder, providers, lambda: round(clock.monotonic() * 1e9), log)
    hosts.show("p", with_open_circuit("i-1", until=1_030.0))
    dispatcher.send(call_request("a"))

    clock.advance(21.0)
    waiting = dispatcher.explain(key("a"))

    assert isinstance(waiting, Waiting)
    assert "due in 9.0 s" in waiting.why.message
    assert waiting.until == 1_030_000_000_000


async def test_a_retry_with_an_affinity_stays_with_the_instance_that_its_key_leads_to(
    dispatcher: Dispatcher, hosts: ScriptedHosts
) -> None:
    hosts.show("p", *(endpoint(f"i-{number}") for number in range(8)))
    dispatcher.send(call_request("first", affinity="customer-1"))
    home = hosts.calls[0].instance_id

    dispatcher.send(call_request("again", affinity="customer-1", tried=frozenset({home}), retry=True))
    dispatcher.send(call_request("elsewhere", tried=frozenset({home}), retry=True))

    assert hosts.calls[1].instance_id == home
    assert hosts.calls[2].instance_id != home
