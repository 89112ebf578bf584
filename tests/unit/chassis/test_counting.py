import pytest

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as pb
from forgemesh.api.plugin.v1 import invocation_pb2, session_pb2
from forgemesh.bounds import ALONE, APART, BOUNDS
from forgemesh.chassis.counting import Excess, excess_of
from tests.received import Container, holding, is_map, places_in, roots

EVERY_PLACE = [place for root in roots() for place in places_in(root)]
each_place = pytest.mark.parametrize("place", EVERY_PLACE, ids=str)


def test_every_list_and_every_map_that_a_process_receives_has_a_bound_and_nothing_else_has() -> None:
    assert {place.field.full_name for place in EVERY_PLACE} == set(BOUNDS)


def test_what_is_counted_apart_is_a_list_that_is_received() -> None:
    assert set(BOUNDS) >= APART | ALONE
    assert not APART & ALONE


@each_place
def test_a_message_may_hold_as_many_as_its_bound_says_and_not_one_more(place: Container) -> None:
    bound = BOUNDS[place.field.full_name]
    full, over = holding(place, bound), holding(place, bound + 1)

    assert excess_of(full, full.ByteSize()) is None
    found = excess_of(over, over.ByteSize())
    assert found == excess_of(over)
    assert found is not None
    assert (found.field, found.count, found.bound) == (place.field.full_name, bound + 1, bound)
    assert found.place.endswith(place.field.name)


def test_the_refusal_says_where_how_many_and_how_many_are_taken() -> None:
    request = pb.StartExecutionsRequest()
    request.requests.add()
    request.requests.add().input.metadata.update({str(number): "" for number in range(10_001)})

    found = excess_of(request)

    metadata = "forgemesh.api.payload.v1.Payload.metadata"
    assert found == Excess("requests[1].input.metadata", metadata, 10_001, 10_000)
    assert str(found) == "there are 10,001 of them in one message, at most 10,000 are taken"


def test_what_stands_in_one_another_is_counted_together() -> None:
    failure = failure_pb2.Failure()
    innermost = failure
    for _ in range(20):
        for _ in range(500):
            innermost.causes.add()
        innermost = innermost.causes[0]
    assert excess_of(failure) is None
    innermost.causes.add()

    found = excess_of(failure)

    assert found is not None
    assert (found.place, found.count) == (".".join(["causes[0]"] * 20 + ["causes"]), 10_001)


def test_entries_that_only_travel_together_are_counted_each_by_itself() -> None:
    frame = session_pb2.SessionRequest()
    for _ in range(3):
        frame.invocations.add().input.metadata.update({str(number): "" for number in range(10_000)})

    assert excess_of(frame) is None


def test_what_is_counted_by_its_reader_is_not_looked_into() -> None:
    frame = session_pb2.SessionResponse()
    frame.results.add().output.metadata.update({str(number): "" for number in range(10_001)})

    assert excess_of(frame) is None
    assert excess_of(frame.results[0]) is not None


def test_what_is_counted_apart_holds_no_list_of_messages_so_that_looking_into_all_of_it_is_bounded() -> None:
    apart = {place.field.message_type for place in EVERY_PLACE if place.field.full_name in APART}
    inside = [inner for entry in apart for inner in places_in(entry)]

    assert [str(inner) for inner in inside if inner.field.message_type is not None and not is_map(inner.field)] == []


def test_no_message_makes_more_than_two_hundred_thousand_parts_be_looked_into() -> None:
    for root in roots():
        lists = [place.field for place in places_in(root) if place.field.message_type is not None]
        assert sum(BOUNDS[field.full_name] for field in lists if not is_map(field)) <= 200_000, root.full_name


def test_a_message_that_holds_little_is_not_refused_whatever_its_size() -> None:
    result = invocation_pb2.InvocationResult()
    result.output.data = b"x" * 1_000_000
    result.output.metadata["a"] = "b"

    assert excess_of(result, result.ByteSize()) is None
