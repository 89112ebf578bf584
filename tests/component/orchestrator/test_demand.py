from forgemesh.faults.service import ServiceUnreachable
from forgemesh.orchestrator.dispatch.call_request import Wanted
from forgemesh.orchestrator.dispatch.demand import Demand
from forgemesh.routing.endpoint import Health
from tests.component.orchestrator.dispatching import Log, call_request, dispatcher_over, to_interface
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint


async def test_what_calls_wait_for_is_wanted_until_somebody_serves_it() -> None:
    hosts, log = ScriptedHosts(), Log()
    dispatcher = dispatcher_over(hosts, log)
    hosts.show("q", endpoint("i-1", health=Health.NOT_SERVING))
    dispatcher.send(call_request("a"))
    dispatcher.send(call_request("b", plugin_id="q"))
    dispatcher.send(to_interface("c"))
    await log.until("a NOT_REGISTERED", "b NONE_HEALTHY", "c NOT_REGISTERED")

    assert dispatcher.wanted == {Wanted("p", ""), Wanted("", "shape")}
    hosts.show("p", endpoint("i-1"))
    await hosts.call("a")
    assert dispatcher.wanted == {Wanted("", "shape")}


async def test_a_registry_that_does_not_answer_is_told_the_next_time() -> None:
    told: list[tuple[str, str]] = []
    away = [ServiceUnreachable("registry", "127.0.0.1:1", "away")]

    async def tell(plugin_id: str, interface: str) -> None:
        if away:
            raise away.pop()
        told.append((plugin_id, interface))

    demand = Demand(tell, lambda: [Wanted("p", ""), Wanted("", "x")])
    await demand.run()
    await demand.run()

    assert told == [("p", ""), ("", "x")]
