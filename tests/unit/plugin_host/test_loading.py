import random

import pytest
from hypothesis import given, strategies as st

from forgemesh.plugin_host.supervisor.needs.loading import (
    Decision,
    Member,
    Need,
    Offer,
    OnLoss,
    Readiness,
    decide,
    levels,
    losers,
)


def member(
    name: str, *needs: Need, standing: Readiness = Readiness.WAITING, version: str = "1.0.0", provides: str = ""
) -> Member:
    interfaces = ((provides, "1.2.0"),) if provides else ()
    offer = None if standing is Readiness.UNKNOWN else Offer(plugin_id=name, version=version, interfaces=interfaces)
    return Member(instance_id=f"{name}-1", standing=standing, offer=offer, needs=needs)


def need(name: str, version_range: str = "", **others: object) -> Need:
    return Need(name=name, version_range=version_range, **others)  # type: ignore[arg-type]


def maybe(name: str) -> Need:
    return need(name, optional=True)


def names(needs: tuple[Need, ...]) -> list[str]:
    return [one.name for one in needs]


def test_who_needs_nothing_starts() -> None:
    assert decide([member("a"), member("b")], ()).start == ("a-1", "b-1")


def test_a_dependent_waits_until_what_it_needs_serves() -> None:
    waiting = decide([member("a", need("b")), member("b")], ())
    assert (waiting.start, names(waiting.waiting["a-1"])) == (("b-1",), ["b"])

    coming = decide([member("a", need("b")), member("b", standing=Readiness.COMING)], ())
    assert (coming.start, coming.hopeless) == ((), {})

    assert decide([member("a", need("b")), member("b", standing=Readiness.SERVING)], ()).start == ("a-1",)


def test_what_serves_elsewhere_counts() -> None:
    assert decide([member("a", need("b", "^1.2"))], [Offer(plugin_id="b", version="1.3.0")]).start == ("a-1",)
    assert decide([member("a", need("b", "^2"))], [Offer(plugin_id="b", version="1.3.0")]).start == ()


@pytest.mark.parametrize("version_range", ["^1.1", "1.1.0"])
def test_an_interface_is_met_by_whoever_provides_it(version_range: str) -> None:
    wanted = need("timeseries.summary", version_range, interface=True)
    provider = member("b", standing=Readiness.SERVING, provides="timeseries.summary")

    assert decide([member("a", wanted), provider], ()).start == ("a-1",)


def test_a_need_that_nobody_can_meet_is_named() -> None:
    found = decide([member("a", need("b")), member("b", need("c"))], ())

    assert found.start == ()
    assert {key: names(value) for key, value in found.hopeless.items()} == {"a-1": ["b"], "b-1": ["c"]}


def test_what_was_stopped_for_a_loss_is_hopeless_unless_what_it_lost_is_on_its_way() -> None:
    paused = member("a", need("b", on_loss=OnLoss.STOP), standing=Readiness.PAUSED)

    lost = decide([paused], ())
    coming = decide([paused, member("b", standing=Readiness.COMING)], ())
    stuck = decide([paused, member("b", need("c"))], ())
    back = decide([paused, member("b", standing=Readiness.SERVING)], ())
    unknown = decide([paused, member("x", standing=Readiness.UNKNOWN)], ())

    assert {key: names(value) for key, value in lost.hopeless.items()} == {"a-1": ["b"]}
    assert (coming.hopeless, coming.resume) == ({}, ())
    assert {key: names(value) for key, value in stuck.hopeless.items()} == {"a-1": ["b"], "b-1": ["c"]}
    assert (back.hopeless, back.resume) == ({}, ("a-1",))
    assert (unknown.hopeless, unknown.resume) == ({}, ())


def test_nothing_is_hopeless_while_somebody_has_not_said_what_it_is() -> None:
    assert decide([member("a", need("b")), member("x", standing=Readiness.UNKNOWN)], ()).hopeless == {}


def test_an_optional_need_that_is_on_its_way_comes_first() -> None:
    found = decide([member("a", maybe("b")), member("b")], ())

    assert (found.start, names(found.waiting["a-1"])) == (("b-1",), ["b"])


@pytest.mark.parametrize(
    "others",
    [
        [],
        [member("b", standing=Readiness.OUT)],
        [member("b", version="2.0.0", standing=Readiness.SERVING)],
        [member("b", need("nowhere"))],
    ],
)
def test_an_optional_need_that_does_not_come_holds_up_nobody(others: list[Member]) -> None:
    wanted = need("b", "^1", optional=True)

    assert "a-1" in decide([member("a", wanted), *others], ()).start


def test_a_circle_is_named_with_its_path() -> None:
    found = decide([member("a", need("b")), member("b", need("c")), member("c", need("a")), member("d", need("a"))], ())

    assert found.start == ()
    assert set(found.circles) == {"a-1", "b-1", "c-1"}
    path = found.circles["a-1"]
    assert path[0] == path[-1]
    assert "".join(path[:-1]) in ("abc", "bca", "cab")


def test_a_plugin_that_needs_itself_is_a_circle() -> None:
    assert decide([member("a", need("a"))], ()).circles == {"a-1": ("a", "a")}


def test_a_circle_with_an_optional_edge_is_broken_there() -> None:
    members = [member("a", need("b")), member("b", maybe("a"))]

    found = decide(members, ())

    assert (found.start, found.circles) == (("b-1",), {})


def test_what_a_serving_host_lost_makes_it_degraded_ignored_or_stopped() -> None:
    def after(on_loss: OnLoss) -> Decision:
        return decide([member("a", need("b", on_loss=on_loss), standing=Readiness.SERVING)], ())

    assert after(OnLoss.DEGRADE).lacking == {"a-1": ("b",)}
    assert after(OnLoss.IGNORE).lacking == {"a-1": ()}
    assert after(OnLoss.STOP).stop == {"a-1": ("b",)}


def test_a_stopped_host_comes_back_with_what_it_needs() -> None:
    stopped = member("a", need("b", on_loss=OnLoss.STOP), standing=Readiness.PAUSED)

    assert decide([stopped], ()).resume == ()
    assert decide([stopped, member("b", standing=Readiness.SERVING)], ()).resume == ("a-1",)


def test_who_loses_something_when_a_host_leaves() -> None:
    members = [
        member("a", standing=Readiness.SERVING),
        member("b", need("a"), standing=Readiness.SERVING),
        member("c", maybe("a"), standing=Readiness.SERVING),
        member("d", need("b"), standing=Readiness.SERVING),
    ]

    assert losers(members, {"a-1"}, ()) == ["b-1"]
    assert losers(members, {"a-1", "b-1"}, ()) == ["d-1"]
    assert losers(members, {"a-1"}, [Offer(plugin_id="a", version="1.0.0")]) == []


def test_levels_are_the_longest_chains_below() -> None:
    offers = {name: Offer(plugin_id=name, version="1.0.0") for name in "abcd"}
    needs = {"a": [need("b"), need("d")], "b": [need("c")], "c": [need("d")]}

    assert levels(offers, needs) == {"d": 0, "c": 1, "b": 2, "a": 3}


def test_a_chain_of_ten_thousand_starts_from_its_end() -> None:
    chain = [member(f"p{number}", need(f"p{number + 1}")) for number in range(10_000)]

    found = decide([*chain, member("p10000")], ())

    assert found.start == ("p10000-1",)
    assert found.hopeless == {}


@given(st.integers(0, 2**32))
def test_hosts_of_any_graph_without_circle_all_serve_in_the_end_each_after_what_it_needs(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    count = chance.randint(1, 12)
    needs = {
        f"p{number}": [
            need(f"p{other}", optional=chance.random() < 0.3) for other in range(number) if chance.random() < 0.4
        ]
        for number in range(count)
    }
    order = sorted(needs, key=lambda _: chance.random())
    standing = dict.fromkeys(order, Readiness.WAITING)
    while set(standing.values()) != {Readiness.SERVING}:
        found = decide([member(name, *needs[name], standing=standing[name]) for name in order], ())
        assert found.start
        for key in found.start:
            name = key.removesuffix("-1")
            assert all(standing[one.name] is Readiness.SERVING for one in needs[name])
            standing[name] = Readiness.SERVING
