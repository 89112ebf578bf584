import random
import zlib
from collections.abc import Mapping
from dataclasses import replace
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.orchestrator.v1 import event_pb2
from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.faults import Code
from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.api.executions import execution_to_message
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.store import events as codec
from forgemesh.orchestrator.store.blobs import INLINE
from forgemesh.orchestrator.store.events import event_from_stored, event_to_message, opened, stored_event
from forgemesh.orchestrator.store.step_events import _WRITERS, step_event
from forgemesh.orchestrator.values.failure import MAX_CAUSES, MAX_DEPTH, Failure
from forgemesh.orchestrator.values.payload import JSON, MAX_INPUT, Payload
from forgemesh.orchestrator.values.retry import LONGEST_WISH
from forgemesh.orchestrator.wire.payloads import (
    MAX_FACTS,
    failure_from_message,
    failure_to_message,
    foreign_failure,
    payload_from_message,
)
from tests.unit.orchestrator.histories import History, broken, kept
from tests.unit.orchestrator.workflows import call, of_steps

texts = st.text(st.characters(codec="utf-8"), max_size=30)
metadata = st.dictionaries(texts, texts, max_size=3)
payloads = st.builds(Payload, st.binary(max_size=50), st.one_of(st.just(JSON), texts.filter(bool)), metadata)
leaves = st.builds(
    Failure,
    st.sampled_from([code for code in Code if code is not Code.OK]),
    texts.filter(bool),
    texts,
    metadata,
    st.booleans(),
    texts,
    st.integers(0, int(LONGEST_WISH * 1000)).map(lambda millis: millis / 1000),
)
failures = st.builds(Failure.with_causes, leaves, st.lists(leaves, max_size=2))
TIMES = ("at", "until", "next_at", "deadline")
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    bool: st.booleans(),
    bytes: st.binary(min_size=16, max_size=16),
    int: st.integers(0, 2**31 - 1),
    Payload: payloads,
    Failure: failures,
    type(None): st.none(),
    tuple[str, ...]: st.lists(texts, max_size=3).map(tuple),
    Mapping[str, Payload]: st.dictionaries(texts, payloads, max_size=3),
}


def values_of(kind: type) -> st.SearchStrategy[Any]:
    """Structs of this kind with anything in their fields that their types allow."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: field_of(name, hint) for name, hint in hints.items()})


def field_of(name: str, hint: Any) -> st.SearchStrategy[Any]:
    if name in TIMES:
        return st.integers(0, 2**63 - 1)
    if name == "status":
        return texts.filter(bool)
    if hint in BY_TYPE:
        return BY_TYPE[hint]
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is UnionType:
        return st.one_of(*(field_of("", one) for one in get_args(hint)))
    return values_of(hint)


facts = st.one_of(*(values_of(kind) for kind in get_args(e.Fact)))
events = st.builds(e.Event, st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1), facts)


@pytest.mark.parametrize("kind", get_args(e.Fact), ids=lambda kind: kind.__name__)
@settings(max_examples=30)
@given(draw=st.data())
def test_every_fact_comes_back_from_the_store_as_it_was(kind: type, draw: st.DataObject) -> None:
    event = e.Event(7, 8, draw.draw(values_of(kind)))

    assert kept(stored_event(event)[0], "event 1/1") == event


@pytest.mark.parametrize("kind", _WRITERS, ids=lambda kind: kind.__name__)
@settings(max_examples=100)
@given(draw=st.data())
def test_what_is_written_for_every_step_is_what_its_message_would_be(kind: type, draw: st.DataObject) -> None:
    given = draw.draw(st.builds(e.Event, st.integers(0, 2**63), st.integers(0, 2**63 - 1), values_of(kind)))

    written = step_event(given)

    assert written in (None, event_to_message(given).SerializeToString())


@pytest.mark.parametrize("kind", _WRITERS, ids=lambda kind: kind.__name__)
@settings(max_examples=50)
@given(draw=st.data(), data=st.binary(max_size=300))
def test_what_an_ordinary_step_leaves_needs_no_message(kind: type, draw: st.DataObject, data: bytes) -> None:
    fact = draw.draw(values_of(kind))
    names = set(get_type_hints(kind))
    ordinary = {"input": Payload(data), "output": Payload(data), "cache_key": "", "affinity": "", "child_id": ""}
    ordinary["dispatch"] = draw.draw(values_of(Dispatch).filter(lambda dispatch: dispatch.at))
    fact = msgspec.structs.replace(fact, **{name: ordinary[name] for name in names & set(ordinary)})

    event = e.Event(draw.draw(st.integers(1, 2**63 - 1)), draw.draw(st.integers(1, 2**63 - 1)), fact)

    assert step_event(event) == event_to_message(event).SerializeToString()


@given(st.binary(min_size=1, max_size=300), st.lists(st.binary(min_size=32, max_size=32), max_size=3))
def test_a_record_is_what_its_message_would_be(body: bytes, blobs: list[bytes]) -> None:
    message = event_pb2.StoredEvent(schema_version=2, checksum=zlib.crc32(body), event=body, blobs=blobs)

    assert codec.record_of(body, blobs) == message.SerializeToString()


def test_there_is_no_fact_that_the_store_does_not_know() -> None:
    kinds = set(e.Fact.__args__)

    assert kinds == set(codec._TO_MESSAGE)
    assert {field.name for field in event_pb2.ExecutionEvent.DESCRIPTOR.oneofs_by_name["kind"].fields} == set(
        codec._FROM_MESSAGE
    )


@settings(max_examples=50)
@given(events, st.randoms(use_true_random=False))
def test_a_record_with_a_flipped_bit_is_refused_or_says_the_same(event: e.Event, draw: random.Random) -> None:
    """The number of the schema is not under the checksum: one that this release reads as well changes nothing."""
    body = bytearray(stored_event(event)[0])
    body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)

    found, said = event, "event 7/3"
    try:
        found = kept(bytes(body), "event 7/3")
    except DataCorrupted as refused:
        said = str(refused)

    assert found == event
    assert "event 7/3" in said


@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_a_record_that_was_cut_off_is_refused(cut: int) -> None:
    body = stored_event(e.Event(1, 2, e.StepBlocked("a/b/c", 1, "NONE_HEALTHY", "no instance is healthy")))[0]

    with pytest.raises(DataCorrupted):
        kept(body[:cut], "event 7/3")


def test_a_record_of_another_release_is_refused_by_its_schema() -> None:
    body = stored_event(e.Event(1, 2, e.StepCancelled("a")))[0]
    newer = event_pb2.StoredEvent.FromString(body)
    newer.schema_version = 4

    with pytest.raises(DataCorrupted, match="it has schema 4, this release knows 3"):
        kept(newer.SerializeToString(), "event 7/3")


def test_what_an_earlier_release_can_read_is_kept_as_it_reads_it_and_what_it_cannot_is_not() -> None:
    versions = {
        type(fact): event_pb2.StoredEvent.FromString(stored_event(e.Event(1, 2, fact))[0]).schema_version
        for fact in (e.StepCancelled("a"), e.GroupStarted("a"), e.RoundStarted("a", 1), e.RoundJudged("a", 1))
    }

    assert versions == {e.StepCancelled: 2, e.GroupStarted: 2, e.RoundStarted: 3, e.RoundJudged: 3}


def test_a_record_that_says_nothing_we_know_is_refused() -> None:
    stored = event_pb2.StoredEvent(schema_version=1, event=event_pb2.ExecutionEvent(sequence=1).SerializeToString())
    stored.checksum = zlib.crc32(stored.event)

    with pytest.raises(DataCorrupted, match="says nothing"):
        kept(stored.SerializeToString(), "event 7/3")


@given(failures)
def test_a_failure_means_the_same_after_any_number_of_journeys(failure: Failure) -> None:
    once = failure_from_message(failure_to_message(failure))

    assert once == failure
    assert failure_from_message(failure_to_message(once)) == once


@pytest.mark.parametrize(
    ("code", "known"), [(0, Code.UNKNOWN), (99, Code.UNKNOWN), (-1, Code.UNKNOWN), (14, Code.UNAVAILABLE)]
)
def test_a_failure_always_has_a_code_and_a_reason(code: int, known: Code) -> None:
    failure = failure_from_message(failure_pb2.Failure(code=code))

    assert (failure.code, failure.reason) == (known, known.name)


@pytest.mark.parametrize(("millis", "seconds"), [(-(2**63), 0.0), (2**63 - 1, LONGEST_WISH), (1500, 1.5)])
def test_a_wish_to_wait_is_kept_within_reason(millis: int, seconds: float) -> None:
    failure = failure_from_message(failure_pb2.Failure(retry_after_millis=millis))

    assert failure.retry_after == seconds
    assert failure_to_message(failure).retry_after_millis == seconds * 1000


def test_failures_of_groups_in_groups_are_kept_within_bounds() -> None:
    failure = broken()
    for _ in range(8):
        failure = broken().with_causes([failure] * 300)

    assert len(list(failure.flat())) == MAX_CAUSES + 1
    assert failure_from_message(failure_to_message(failure)) == failure


def test_a_chain_of_failures_is_kept_down_to_a_depth() -> None:
    failure = broken("LAST")
    for _ in range(8):
        failure = broken().with_causes([failure])

    assert len(list(failure.flat())) == MAX_DEPTH + 1
    assert failure_from_message(failure_to_message(failure)) == failure


def test_large_failures_are_attached_in_brief() -> None:
    large = replace(broken(), message="m" * 4000, metadata={f"k{number}": "v" * 4000 for number in range(30)})

    failure = broken().with_causes([large] * 100)

    assert len(failure.causes) == 100
    assert failure_to_message(failure).ByteSize() < 200_000
    assert broken().with_causes([large]).causes == (large,)


def test_metadata_that_looks_like_a_reference_to_a_large_payload_is_kept_as_it_is() -> None:
    given = {"\0blob": "zz", "\0blob\0blob": "1", "\0blobs": "2", "plain": "3"}
    large = Payload(b"x" * (INLINE + 1), metadata=given)
    event = e.Event(1, 2, e.VariablesSet("a", {"small": Payload(b"1", metadata=given), "large": large}))
    body, blobs = stored_event(event)

    back = event_from_stored(opened(body, "event 1/1"), blobs, "event 1/1")

    assert list(blobs.values()) == [large.data]
    assert back == event


def test_a_large_payload_that_has_changed_is_refused() -> None:
    event = e.Event(1, 2, e.AttemptStarted("a", 1, Payload(b"x" * (INLINE + 1))))
    body, blobs = stored_event(event)
    changed = {digest: b"y" + data[1:] for digest, data in blobs.items()}

    for wrong, cause in ((changed, "has changed"), ({}, "is missing")):
        with pytest.raises(DataCorrupted, match=cause):
            event_from_stored(opened(body, "event 1/1"), wrong, "event 1/1")


def test_what_a_plugin_says_about_its_failure_is_kept_within_bounds() -> None:
    message = failure_pb2.Failure(
        code=13,
        reason="R" * 100_000,
        message="m" * 100_000,
        metadata={f"k{number:05}" + "k" * 1000: "v" * 100_000 for number in range(100)},
        step_path="p" * 100_000,
    )

    failure = foreign_failure(message)

    assert len(failure.metadata) == MAX_FACTS + 1
    assert failure.metadata["left_out"].endswith(f"facts, at most {MAX_FACTS} are kept")
    assert failure_to_message(failure).ByteSize() < 200_000


def test_a_payload_without_a_media_type_is_json() -> None:
    assert payload_from_message(payload_pb2.Payload(data=b"1")) == Payload(b"1", JSON)


def test_an_execution_is_shown_without_its_input_where_both_do_not_fit() -> None:
    history = History(of_steps(call("a", input={}), output="${steps.a.output}"), "x" * (MAX_INPUT // 2))
    small = execution_to_message(history.state)
    history.succeed("a", "y" * (MAX_INPUT - 100))

    large = execution_to_message(history.state)

    assert small.HasField("input")
    assert not large.HasField("input")
    assert len(large.output.data) == MAX_INPUT - 98
    assert large.ByteSize() < 4 * 1024 * 1024


def test_an_execution_shows_where_its_steps_stand() -> None:
    history = History(of_steps(call("a"), call("b")))
    history.succeed("a")
    history.block("b")

    message = execution_to_message(history.state)

    assert [(step.step_path, step.kind, step.attempts, step.instance_id) for step in message.steps] == [
        ("a", "call", 1, "i-1"),
        ("b", "call", 1, ""),
    ]
    assert message.steps[1].blocked_reason == "NONE_HEALTHY"
    assert not message.HasField("ended_at")
    history.fail("b", broken())
    ended = execution_to_message(history.state)
    assert ended.failure.reason == "BROKEN"
    assert ended.failure.step_path == "b"
    assert ended.HasField("ended_at")
    assert not ended.HasField("output")
    assert ended.steps[1].blocked_reason == ""
