from itertools import pairwise

from hypothesis import given, strategies as st

from forgemesh.orchestrator.dispatch.fair_queue import AGEING, FairQueue, Shares

Queue = FairQueue[str, str]


def queue_of(*items: str, shares: Shares | None = None) -> Queue:
    """Items such as "a1": the first letter is the flow."""
    queue: Queue = FairQueue(shares or Shares())
    for item in items:
        queue.push(item, item, flow=item[0])
    return queue


def drained(queue: Queue, now: float = 0.0) -> list[str]:
    return [queue.pop(now) for _ in range(len(queue))]


def test_one_flow_is_first_come_first_served() -> None:
    assert drained(queue_of("a1", "a2", "a3")) == ["a1", "a2", "a3"]


def test_flows_take_turns_however_much_one_of_them_has_sent() -> None:
    assert drained(queue_of("a1", "a2", "a3", "a4", "b1", "b2")) == ["a1", "b1", "a2", "b2", "a3", "a4"]


def test_a_flow_that_comes_anew_comes_next_and_gets_nothing_for_the_time_before() -> None:
    queue = queue_of(*(f"a{n}" for n in range(100)))
    for _ in range(50):
        queue.pop()

    for item in ("b0", "b1", "b2"):
        queue.push(item, item, flow="b")

    assert [queue.pop() for _ in range(7)] == ["b0", "a50", "b1", "a51", "b2", "a52", "a53"]


def test_a_flow_that_sends_again_at_once_does_not_stay_ahead() -> None:
    queue = queue_of("b0", "b1", "b2", "b3")
    served = []
    queue.push("a0", "a0", flow="a")
    for number in range(1, 4):
        while (item := queue.pop())[0] == "b":
            served.append(item)
        served.append(item)
        queue.push(f"a{number}", f"a{number}", flow="a")

    assert served == ["b0", "a0", "b1", "a1", "b2", "a2"]


def test_a_higher_priority_goes_first() -> None:
    queue: Queue = FairQueue()
    for item, priority in (("low", -1), ("usual", 0), ("high", 5)):
        queue.push(item, item, flow="a", priority=priority)

    assert drained(queue) == ["high", "usual", "low"]


def test_a_low_priority_is_served_once_in_the_time_that_its_distance_weighs() -> None:
    queue: Queue = FairQueue()
    for number in range(100):
        queue.push(f"low{number}", "low", flow="a", priority=0)
        queue.push(f"high{number}", "high", flow="b", priority=2)

    served = [(second, queue.pop(float(second))) for second in range(100)]

    moments = [second for second, item in served if item == "low"]
    assert len(moments) == 4
    assert all(0 <= later - earlier - 2 * AGEING <= 2 for earlier, later in pairwise([0, *moments]))


def test_queues_with_the_same_shares_are_fair_to_one_another() -> None:
    shares = Shares()
    one = queue_of("a1", "a2", "a3", shares=shares)
    other = queue_of("a4", "b1", "b2", shares=shares)
    served = []
    while one or other:
        served.append(min((queue for queue in (one, other) if queue), key=lambda queue: queue.rank()).pop())

    assert served == ["a1", "b1", "a2", "b2", "a3", "a4"]


def test_what_is_taken_out_is_not_served_and_the_others_stay_in_order() -> None:
    queue = queue_of("a1", "a2", "b1", "b2", "c1")

    removed = [queue.remove("a1"), queue.remove("b2"), queue.remove("unknown")]

    assert removed == ["a1", "b2", None]
    assert queue.first() == "b1"
    assert drained(queue) == ["b1", "c1", "a2"]


def test_a_position_counts_those_that_go_before() -> None:
    queue = queue_of("a1", "a2", "a3", "b1")
    queue.push("c1", "c1", flow="c", priority=1)

    order = [*queue]
    positions = {item: queue.position(item) for item in order}

    assert order == ["a1", "a2", "a3", "b1", "c1"]
    assert positions == {"c1": 0, "a1": 1, "b1": 2, "a2": 3, "a3": 4}


def test_what_flows_have_had_is_forgotten_in_time() -> None:
    queue = queue_of("z0")
    for number in range(10_000):
        queue.push(f"f{number}", f"f{number}", flow=number)
        queue.pop()

    assert sum(len(level.finish) for level in queue.shares._levels.values()) < 200


def test_what_was_taken_out_is_forgotten_in_time() -> None:
    queue = queue_of("a0")
    for number in range(1, 10_000):
        queue.push(f"a{number}", f"a{number}", flow="a")
        queue.remove(f"a{number}")

    assert sum(map(len, queue._heaps.values())) < 200


sent = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 2), st.sampled_from(["push", "pop", "remove"])), max_size=80
)


@given(sent)
def test_everything_leaves_once_and_no_flow_gets_more_than_one_ahead_of_another_that_waits(
    steps: list[tuple[int, int, str]],
) -> None:
    queue: FairQueue[int, tuple[int, int]] = FairQueue()
    waiting: dict[int, tuple[int, int]] = {}
    left: list[int] = []
    for number, (flow, priority, action) in enumerate(steps):
        if action == "push":
            queue.push(number, (flow, number), flow=flow, priority=priority)
            waiting[number] = (flow, number)
        elif waiting and action == "pop":
            left.append(queue.pop()[1])
            del waiting[left[-1]]
        elif waiting:
            key = min(waiting)
            assert queue.remove(key) == waiting.pop(key)

    assert len(queue) == len(waiting)
    assert {queue.pop()[1] for _ in range(len(queue))} == set(waiting)
    assert len(set(left)) == len(left)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=5))
def test_flows_that_all_wait_are_served_alike(lengths: list[int]) -> None:
    queue: FairQueue[tuple[int, int], int] = FairQueue()
    for flow, length in enumerate(lengths):
        for number in range(length):
            queue.push((flow, number), flow, flow=flow)

    served = [0] * len(lengths)
    for _ in range(min(lengths) * len(lengths)):
        served[queue.pop()] += 1
        assert max(served) - min(served) <= 1
