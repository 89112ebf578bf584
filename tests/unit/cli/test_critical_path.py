"""Which spans decide how long a trace takes."""

from __future__ import annotations

from hypothesis import given, strategies as st

from forgemesh.api.traces.v1.span_pb2 import Span
from forgemesh.cli.critical_path import critical_path


def span(number: int, parent: int, begin: int, end: int) -> Span:
    return Span(
        span_id=str(number),
        parent_span_id=str(parent) if parent else "",
        start_unix_nano=begin,
        end_unix_nano=end,
    )


def path(*spans: Span) -> dict[int, int]:
    return {int(span_id): own for span_id, own in critical_path(spans).items()}


def test_of_steps_one_after_the_other_all_are_on_it() -> None:
    assert path(span(1, 0, 0, 100), span(2, 1, 10, 40), span(3, 1, 50, 90)) == {1: 30, 2: 30, 3: 40}


def test_of_parallel_steps_the_last_to_end_is_on_it() -> None:
    assert path(span(1, 0, 0, 100), span(2, 1, 10, 95), span(3, 1, 10, 40), span(4, 1, 0, 9)) == {1: 6, 2: 85, 4: 9}


def test_it_goes_as_deep_as_the_trace() -> None:
    assert path(span(1, 0, 0, 10), span(2, 1, 0, 10), span(3, 2, 4, 10)) == {1: 0, 2: 4, 3: 6}


def test_what_outlives_its_parent_counts_up_to_the_end_of_it() -> None:
    assert path(span(1, 0, 0, 10), span(2, 1, 5, 90)) == {1: 5, 2: 5}


def test_the_longest_root_is_taken_and_a_ring_is_none() -> None:
    assert path(span(1, 0, 0, 10), span(2, 0, 20, 90), span(3, 4, 0, 99), span(4, 3, 0, 99)) == {2: 70}
    assert path(span(3, 4, 0, 99), span(4, 3, 0, 99)) == {}
    assert path() == {}


@st.composite
def trees(draw: st.DrawFn) -> list[Span]:
    """Children within their parents, or beyond them."""
    spans = [span(1, 0, 0, draw(st.integers(1, 1000)))]
    for number in range(2, draw(st.integers(2, 15))):
        begin = draw(st.integers(0, 1000))
        spans.append(span(number, draw(st.integers(1, number - 1)), begin, begin + draw(st.integers(0, 500))))
    return spans


@given(trees())
def test_the_shares_add_up_to_the_whole_time(spans: list[Span]) -> None:
    shares = critical_path(spans)

    assert sum(shares.values()) == spans[0].end_unix_nano - spans[0].start_unix_nano
    assert min(shares.values()) >= 0
    assert "1" in shares


@given(trees())
def test_what_is_on_it_has_its_parent_on_it(spans: list[Span]) -> None:
    shares, parents = critical_path(spans), {one.span_id: one.parent_span_id for one in spans}

    assert all(parents[one] in shares for one in shares if parents[one])
