from collections.abc import Callable

from hypothesis import given, strategies as st

from forgemesh.balancer.domain.fleet import Fleet
from forgemesh.balancer.domain.probe import Verdict
from forgemesh.routing.endpoint import Admission, Health
from forgemesh.routing.snapshot import Revision
from tests.unit.balancer.members import GONE_SILENT, SERVING, member

STATS = "weather.stats"


def healths(fleet: Fleet, plugin_id: str = STATS) -> dict[str, Health]:
    return {endpoint.instance_id: endpoint.health for endpoint in fleet.snapshot(plugin_id).endpoints}


def test_an_instance_is_unchecked_until_its_first_verdict() -> None:
    fleet = Fleet(epoch=3).listed([member("a")], now=1.0)

    assert fleet.unchecked
    assert healths(fleet) == {"a": Health.UNCHECKED}
    assert not fleet.judged("a", 1, SERVING, now=2.0).unchecked


def test_each_change_of_a_plugin_is_a_revision_of_that_plugin() -> None:
    fleet = Fleet(epoch=3).listed([member("a"), member("r", plugin_id="weather.report")], now=1.0)
    judged = fleet.judged("a", 1, SERVING, now=2.0)

    assert fleet.snapshot(STATS).revision == Revision(3, 1)
    assert judged.snapshot(STATS).revision == Revision(3, 2)
    assert judged.snapshot("weather.report").revision == Revision(3, 1)


def test_what_changes_nothing_is_no_revision() -> None:
    fleet = Fleet(epoch=3).listed([member("a")], now=1.0).judged("a", 1, SERVING, now=2.0)

    assert fleet.judged("a", 1, SERVING, now=3.0) is fleet
    assert fleet.changed(member("a"), now=3.0) is fleet
    assert fleet.listed([member("a")], now=3.0) is fleet
    assert fleet.gone("b", 1) is fleet


def test_a_new_incarnation_starts_unchecked_and_late_verdicts_of_the_old_one_say_nothing() -> None:
    fleet = Fleet(epoch=3).listed([member("a", 1)], now=1.0).judged("a", 1, GONE_SILENT, now=2.0)
    again = fleet.changed(member("a", 2), now=3.0)

    assert healths(again) == {"a": Health.UNCHECKED}
    assert again.judged("a", 1, SERVING, now=4.0) is again
    assert again.gone("a", 1) is again
    assert healths(again.judged("a", 2, SERVING, now=4.0)) == {"a": Health.SERVING}


def test_draining_changes_the_admission_and_not_the_health() -> None:
    fleet = Fleet(epoch=3).listed([member("a")], now=1.0).judged("a", 1, SERVING, now=2.0)
    (endpoint,) = fleet.changed(member("a", admission=Admission.DRAINING), now=3.0).snapshot(STATS).endpoints

    assert endpoint.admission is Admission.DRAINING
    assert (endpoint.health, endpoint.health_since) == (Health.SERVING, 2.0)


def test_health_is_dated_from_its_change_and_not_from_a_new_reason() -> None:
    fleet = Fleet(epoch=3).listed([member("a")], now=1.0).judged("a", 1, GONE_SILENT, now=2.0)
    (endpoint,) = fleet.judged("a", 1, Verdict(Health.UNREACHABLE, "refused"), now=3.0).snapshot(STATS).endpoints

    assert (endpoint.health_reason, endpoint.health_since) == ("refused", 2.0)


def test_a_new_list_keeps_what_is_known_of_those_who_stay() -> None:
    fleet = Fleet(epoch=3).listed([member("a"), member("b")], now=1.0)
    fleet = fleet.judged("a", 1, SERVING, now=2.0).judged("b", 1, SERVING, now=2.0)

    assert healths(fleet.listed([member("a"), member("c")], now=3.0)) == {
        "a": Health.SERVING,
        "c": Health.UNCHECKED,
    }


def test_a_plugin_whose_last_instance_is_gone_keeps_an_empty_snapshot() -> None:
    fleet = Fleet(epoch=3).listed([member("a")], now=1.0).gone("a", 1)

    assert fleet.snapshot(STATS).endpoints == ()
    assert fleet.snapshot(STATS).revision == Revision(3, 2)
    assert STATS in fleet.revisions


def test_an_instance_that_serves_another_plugin_now_leaves_the_first() -> None:
    fleet = Fleet(epoch=3).listed([member("a")], now=1.0).changed(member("a", 2, plugin_id="weather.report"), now=2.0)

    assert healths(fleet) == {}
    assert healths(fleet, "weather.report") == {"a": Health.UNCHECKED}
    assert fleet.revisions == {STATS: 2, "weather.report": 1}


members = st.builds(
    member,
    st.sampled_from("abc"),
    st.integers(1, 3),
    plugin_id=st.sampled_from([STATS, "weather.report"]),
    admission=st.sampled_from(Admission),
)
told: st.SearchStrategy[Callable[[Fleet], Fleet]] = st.one_of(
    members.map(lambda one: lambda fleet: fleet.changed(one, 1.0)),
    st.builds(
        lambda i, n: lambda fleet: fleet.gone(i, n),
        st.sampled_from("abc"),
        st.integers(1, 3),
    ),
    st.builds(
        lambda i, n, verdict: lambda fleet: fleet.judged(i, n, verdict, 1.0),
        st.sampled_from("abc"),
        st.integers(1, 3),
        st.sampled_from([SERVING, GONE_SILENT]),
    ),
    st.lists(members, unique_by=lambda one: one.instance_id, max_size=3).map(
        lambda those: lambda fleet: fleet.listed(those, 1.0)
    ),
)


@given(st.lists(told, max_size=30))
def test_a_snapshot_differs_exactly_when_its_revision_does(history: list[Callable[[Fleet], Fleet]]) -> None:
    fleet = Fleet(epoch=3)
    for tell in history:
        after = tell(fleet)
        for plugin_id in after.revisions:
            before, now = fleet.snapshot(plugin_id), after.snapshot(plugin_id)

            assert (before.endpoints != now.endpoints) == (now.revision > before.revision)
            assert now.revision >= before.revision
        fleet = after


def test_an_instance_without_a_process_keeps_nobody_waiting_for_its_health() -> None:
    fleet = Fleet(epoch=3).listed([member("a", admission=Admission.CRASH_LOOP, admission_reason="killed")], now=1.0)

    assert not fleet.unchecked
    (endpoint,) = fleet.snapshot(STATS).endpoints
    assert (endpoint.admission, endpoint.admission_reason) == (Admission.CRASH_LOOP, "killed")
