from hypothesis import given, strategies as st

from forgemesh.traces.domain.span import Span, growth_of

ROOT, CHILD = None, b"\x01" * 8


def span(
    trace: bytes = b"t",
    *,
    parent: bytes | None = CHILD,
    name: str = "work",
    start: int = 0,
    end: int = 10,
    error: bool = False,
    execution: str = "",
) -> Span:
    return Span(trace, b"s", parent, name, start, end, error, execution, b"")


def test_each_trace_grows_by_its_own_spans_and_errors() -> None:
    growth = growth_of([span(b"a"), span(b"b", error=True), span(b"a", error=True)])

    assert {trace: (new.spans, new.errors) for trace, new in growth.items()} == {b"a": (2, 1), b"b": (1, 1)}


def test_a_trace_is_named_for_its_earliest_span_even_if_that_comes_last() -> None:
    growth = growth_of([span(name="later", start=5), span(name="first", start=1), span(name="last", start=9)])

    assert growth[b"t"].name == "first"


def test_among_spans_of_the_same_start_the_root_gives_the_name() -> None:
    growth = growth_of([span(name="child"), span(name="root", parent=ROOT), span(name="other child")])

    assert growth[b"t"].name == "root"


def test_executions_are_named_once_and_in_order() -> None:
    growth = growth_of([span(execution="x-2"), span(), span(execution="x-1"), span(execution="x-2")])

    assert list(growth[b"t"].executions) == ["x-2", "x-1"]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.booleans()), min_size=1))
def test_a_trace_reaches_from_its_first_start_to_its_last_end(drawn: list[tuple[int, int, bool]]) -> None:
    spans = [span(start=start, end=start + length, error=error) for start, length, error in drawn]

    new = growth_of(spans)[b"t"]

    assert new.start == min(one.start for one in spans)
    assert new.end == max(one.end for one in spans)
    assert (new.spans, new.errors) == (len(spans), sum(one.error for one in spans))
