import pytest
from hypothesis import given, strategies as st

from forgemesh.api.traces.v1.span_pb2 import SPAN_STATUS_ERROR, SPAN_STATUS_UNSPECIFIED, Span, SpanLink
from forgemesh.chassis.attributes import ERROR_TYPE, LINK_TYPE, STEP_ATTEMPT, STEP_PATH
from forgemesh.cli.trace_tree import ASCII, BOXES, glyphs_for, summary, trace_lines

MS = 1_000_000
TRACE, OTHER_TRACE = "ab" * 16, "cd" * 16


def span_id(number: int) -> str:
    return f"{number:016x}"


def span(
    number: int,
    parent: int,
    name: str,
    begin: int,
    end: int,
    *,
    service: str = "etl.steps",
    instance: str = "etl.steps-1",
    error: str = "",
    message: str = "",
    attempt: int = 0,
    links: tuple[tuple[str, str, int], ...] = (),
) -> Span:
    """A span from `begin` to `end` in milliseconds; links are (type, trace id, span number)."""
    attributes = {ERROR_TYPE: error} if error else {}
    attributes |= {STEP_ATTEMPT: str(attempt)} if attempt else {}
    return Span(
        trace_id=TRACE,
        span_id=span_id(number),
        parent_span_id=span_id(parent) if parent else "",
        name=name,
        start_unix_nano=begin * MS,
        end_unix_nano=end * MS,
        status=SPAN_STATUS_ERROR if error or message else SPAN_STATUS_UNSPECIFIED,
        status_message=message,
        service=service,
        service_instance=instance,
        attributes=attributes,
        links=[
            SpanLink(trace_id=trace, span_id=span_id(target), attributes={LINK_TYPE: kind})
            for kind, trace, target in links
        ],
    )


def drawn(*spans: Span, width: int = 100, minimum: int = 0) -> list[str]:
    return trace_lines(spans, width=width, minimum=minimum)


def labels(*spans: Span, minimum: int = 0) -> list[str]:
    """The first column."""
    return [line.split("  etl.steps-1 ")[0].rstrip() for line in drawn(*spans, width=300, minimum=minimum)]


def test_a_trace_is_a_tree_with_the_place_the_length_and_the_time_of_each_span() -> None:
    lines = drawn(
        span(1, 0, "run etl", 0, 800, service="orchestrator", instance="o-1"),
        span(2, 1, "fetch", 0, 200, error="UNAVAILABLE", attempt=1, service="orchestrator", instance="o-1"),
        span(3, 1, "blocked", 200, 400, service="orchestrator", instance="o-1"),
        span(4, 1, "fetch", 400, 800, attempt=2, links=(("previous_attempt", TRACE, 2),)),
        span(5, 4, "execute etl.steps/fetch", 500, 700),
        width=99,
    )

    assert lines == [
        "run etl                            orchestrator/o-1    800 ms  ████████████████████████████████████",
        "├ fetch  ✗ UNAVAILABLE             orchestrator/o-1    200 ms  █████████",
        "├ blocked                          orchestrator/o-1    200 ms           ┄┄┄┄┄┄┄┄┄",
        "└ fetch #2  ↩ previous attempt #1  etl.steps-1         400 ms                    ██████████████████",
        "  └ execute etl.steps/fetch        etl.steps-1         200 ms                        ██████████",
    ]


def test_iterations_of_a_map_are_told_apart() -> None:
    spans = [span(1, 0, "each", 0, 9), span(2, 1, "resize", 1, 2, attempt=1), span(3, 1, "resize", 2, 3, attempt=2)]
    spans += [span(4, 1, "blocked", 3, 4), span(5, 1, "inner", 4, 5)]
    for one, path in zip(
        spans, ("each", "each/0/resize", "each/12/resize", "each/3/x", "each/1/in/7/inner"), strict=True
    ):
        one.attributes[STEP_PATH] = path

    assert labels(*spans) == [
        "each",
        "├ resize [0]",
        "├ resize [12] #2",
        "├ blocked [3]",
        "└ inner [1][7]",
    ]


def test_what_foreign_services_call_themselves_is_not_obeyed() -> None:
    evil = "x\x1b]0;t\x07\x9b2J\u202e"
    lines = drawn(span(1, 0, evil, 0, 1, service=evil, instance=evil, error=evil), width=200)

    assert all(line.isprintable() for line in lines)


def test_children_stand_in_order_of_their_start() -> None:
    assert labels(
        span(1, 0, "root", 0, 9), span(2, 1, "third", 6, 9), span(3, 1, "first", 1, 9), span(4, 1, "second", 2, 3)
    ) == ["root", "├ first", "├ second", "└ third"]


def test_the_lines_of_the_tree_go_past_the_children_of_an_earlier_sibling() -> None:
    assert labels(
        span(1, 0, "root", 0, 9),
        span(2, 1, "a", 1, 5),
        span(3, 2, "a-1", 2, 3),
        span(4, 2, "a-2", 3, 4),
        span(5, 1, "b", 6, 9),
        span(6, 5, "b-1", 7, 8),
    ) == ["root", "├ a", "│ ├ a-1", "│ └ a-2", "└ b", "  └ b-1"]


def test_a_span_whose_parent_is_not_stored_stands_at_the_end_with_all_below_it() -> None:
    assert labels(
        span(1, 9, "stray", 0, 9), span(2, 1, "its child", 1, 2), span(3, 0, "root", 5, 9), span(4, 8, "other", 6, 7)
    ) == ["root", "(parent not stored)", "├ stray", "│ └ its child", "└ other"]


def test_spans_that_are_each_others_parents_are_drawn_once_each() -> None:
    assert labels(span(1, 2, "hen", 0, 1), span(2, 1, "egg", 1, 2), span(3, 3, "itself", 5, 6)) == [
        "(parent not stored)",
        "├ hen",
        "│ └ egg",
        "└ itself",
    ]


def test_short_spans_are_left_out_and_counted() -> None:
    short = [span(number, 1, "short", number, number + 1) for number in range(3, 14)]

    shown = labels(span(1, 0, "root", 0, 100), span(2, 1, "long", 0, 50), *short, minimum=5 * MS)

    assert shown == ["root", "└ long", "(11 spans under 5 ms hidden)"]


def test_a_short_span_that_failed_or_holds_a_long_one_stays() -> None:
    assert labels(
        span(1, 0, "root", 0, 100),
        span(2, 1, "refused at once", 0, 0, error="CIRCUIT_OPEN"),
        span(3, 1, "hands over", 1, 2),
        span(4, 3, "works on", 1, 90),
        span(5, 1, "short", 1, 2),
        minimum=5 * MS,
    ) == ["root", "├ refused at once  ✗ CIRCUIT_OPEN", "└ hands over", "  └ works on", "(1 span under 5 ms hidden)"]


def test_without_a_minimum_a_span_of_no_length_is_drawn_with_a_bar() -> None:
    lines = drawn(span(1, 0, "root", 0, 100), span(2, 1, "start", 100, 100))

    assert lines[1].endswith("█")


def test_a_failure_without_a_type_shows_its_message_shortened() -> None:
    (line,) = drawn(span(1, 0, "root", 0, 1, message="the disk\nis full " + "x" * 100), width=200)

    assert "✗ the disk is full xxx" in line
    assert "x" * 50 not in line


def test_links_lead_to_another_attempt_another_step_or_another_trace() -> None:
    lines = drawn(
        span(1, 0, "root", 0, 9, links=(("caller", OTHER_TRACE, 7),)),
        span(2, 1, "wind", 1, 2, attempt=1),
        span(3, 1, "wind", 2, 3, attempt=2, links=(("previous_attempt", TRACE, 2),)),
        span(4, 1, "recover", 3, 4, links=(("lost_attempt", TRACE, 3), ("lost_attempt", TRACE, 2))),
        width=200,
    )

    assert "↩ caller in trace cdcdcdcd" in lines[0]
    assert "wind #2  ↩ previous attempt #1" in lines[2]
    assert "recover  ↩ lost attempt wind #2  ↩ lost attempt wind #1" in lines[3]


def test_an_instance_that_names_its_service_stands_alone_and_a_long_one_is_shortened() -> None:
    lines = drawn(
        span(1, 0, "a", 0, 1, service="forgemesh-orchestrator", instance="01JD7X2M9QZKTR4V8W6Y3B5N1C"),
        span(2, 1, "b", 0, 1, service="weather.stats", instance="weather.stats-2"),
        span(3, 1, "c", 0, 1, service="weather.stats", instance="weather-stats-1"),
        span(4, 1, "d", 0, 1, service="somebody", instance=""),
        width=120,
    )

    expected = ["orchestrator/…3B5N1C", "weather.stats-2", "weather-stats-1", "somebody"]
    assert [line.split()[-4] for line in lines] == expected


def test_a_name_cannot_move_the_cursor() -> None:
    (line,) = drawn(span(1, 0, "evil\x1b[2J\r\nname", 0, 1))

    assert line.isprintable()


def test_a_terminal_without_boxes_gets_ascii() -> None:
    spans = [span(1, 0, "root", 0, 10), span(2, 1, "recover", 0, 5), span(3, 2, "blocked", 5, 10, error="x" * 200)]

    lines = trace_lines(spans, width=80, glyphs=ASCII)

    assert all(line.isascii() for line in lines)
    assert lines[1].startswith("`- recover")
    assert lines[2].startswith("   `- blocked")


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [("utf-8", BOXES), ("UTF-16", BOXES), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII), ("no such", ASCII)],
)
def test_the_encoding_decides_about_boxes(encoding: str | None, glyphs: object) -> None:
    assert glyphs_for(encoding) is glyphs


def test_a_style_dresses_each_part_for_its_role() -> None:
    roles: dict[str, str] = {}

    def note(text: str, role: str) -> str:
        roles[role] = text.strip()
        return text

    spans = [span(1, 0, "root", 0, 10), span(2, 5, "bad", 0, 0, error="X"), span(3, 1, "short", 0, 0)]
    trace_lines(spans, width=100, minimum=MS, style=note)

    assert roles == {
        "name": "root",
        "where": "etl.steps-1",
        "time": "0.0 ms",
        "bar": "█" * len(roles["bar"]),
        "error": "█",
        "aside": "(1 span under 1 ms hidden)",
    }


def test_no_spans_are_no_lines() -> None:
    assert drawn() == []


SPANS = st.lists(
    st.builds(
        span,
        st.integers(1, 12),
        st.integers(0, 14),
        st.text(max_size=60),
        st.integers(0, 1000),
        st.integers(0, 1000),
        service=st.text(max_size=30),
        error=st.sampled_from(["", "", "UNAVAILABLE"]),
    ),
    max_size=25,
)


@given(SPANS, st.integers(20, 200), st.sampled_from([0, 5 * MS]))
def test_no_line_is_too_long(spans: list[Span], width: int, least: int) -> None:
    lines = trace_lines(spans, width=width, minimum=least)

    assert all(len(line) <= width for line in lines)


@given(SPANS)
def test_every_span_has_one_line(spans: list[Span]) -> None:
    lines = trace_lines(spans, width=80)

    assert sum(line != "(parent not stored)" for line in lines) == len(spans)


def test_a_trace_of_10000_spans_is_drawn() -> None:
    wide = [span(1, 0, "root", 0, 10_000), *(span(n, 1, "item", n, n + 1) for n in range(2, 5_001))]
    deep = [span(n, n - 1, "deeper", 0, 10_000) for n in range(5_001, 10_001)]

    assert len(drawn(*wide, *deep)) == 10_000


def test_the_summary_of_a_whole_trace_has_nothing_to_complain_about() -> None:
    facts = summary([span(1, 0, "root", 0, 9, service="b"), span(2, 1, "child", 1, 2, service="a")])

    assert (facts.trace_ids, facts.services, facts.spans) == ((TRACE,), ("a", "b"), 2)
    assert (facts.orphans, facts.duplicates) == ((), ())


def test_the_summary_names_orphans_duplicates_and_strangers() -> None:
    stranger = span(1, 0, "elsewhere", 0, 1)
    stranger.trace_id = OTHER_TRACE

    facts = summary([span(1, 0, "root", 0, 9), span(1, 0, "root", 0, 9), span(3, 2, "stray", 1, 2), stranger])

    assert facts.trace_ids == (TRACE, OTHER_TRACE)
    assert facts.orphans == (f"etl.steps: stray {span_id(3)}",)
    assert facts.duplicates == (span_id(1),)
    assert facts.spans == 4


def test_a_parent_in_another_trace_is_no_parent() -> None:
    stranger = span(1, 0, "elsewhere", 0, 1)
    stranger.trace_id = OTHER_TRACE

    assert summary([stranger, span(2, 1, "child", 0, 1)]).orphans == (f"etl.steps: child {span_id(2)}",)
