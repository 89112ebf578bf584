"""Spans drawn as a tree with their place in time, and what a trace amounts to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from forgemesh.api.traces.v1.span_pb2 import SPAN_STATUS_ERROR
from forgemesh.chassis.attributes import ERROR_TYPE, LINK_TYPE, STEP_ATTEMPT, STEP_PATH
from forgemesh.chassis.foreign_text import printable
from forgemesh.cli.progress import counted, duration

if TYPE_CHECKING:
    from forgemesh.api.traces.v1.span_pb2 import Span, SpanLink

Style: TypeAlias = Callable[[str, str], str]
"""Dresses a text for its role: name, where, time, bar, error or aside."""

ORPHANS = "(parent not stored)"
_DURATION_WIDTH = 8
_GAP = "  "
_LONGEST_REASON = 40
_MOST_LINKS = 2


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What a tree and its bars are drawn with; `waiting` and `mending` are bars of time in which no work was done."""

    branch: str = "├ "
    last: str = "└ "
    trunk: str = "│ "
    space: str = "  "
    working: str = "█"
    waiting: str = "┄"
    mending: str = "▚"
    failed: str = "✗"
    link: str = "↩"
    cut: str = "…"


BOXES = Glyphs()
ASCII = Glyphs("|- ", "`- ", "|  ", "   ", "#", "-", "%", "x", "<-", "~")


def glyphs_for(encoding: str | None) -> Glyphs:
    """Boxes if a stream of this encoding can write them, else ASCII."""
    try:
        "".join((BOXES.branch, BOXES.working, BOXES.mending, BOXES.failed, BOXES.link)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BOXES


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """
    What a list of spans amounts to.

    `orphans` names each span whose parent is not in the list, `duplicates` each span id that is there twice.
    """

    trace_ids: tuple[str, ...]
    services: tuple[str, ...]
    orphans: tuple[str, ...]
    duplicates: tuple[str, ...]
    spans: int


def summary(spans: Iterable[Span]) -> TraceFacts:
    """The facts, each list in order of the alphabet."""
    listed = list(spans)
    times = Counter((span.trace_id, span.span_id) for span in listed)
    lost = [span for span in listed if span.parent_span_id and (span.trace_id, span.parent_span_id) not in times]
    return TraceFacts(
        trace_ids=tuple(sorted({span.trace_id for span in listed})),
        services=tuple(sorted({span.service for span in listed})),
        orphans=tuple(sorted(f"{span.service}: {span.name} {span.span_id}" for span in lost)),
        duplicates=tuple(sorted(span_id for (_, span_id), number in times.items() if number > 1)),
        spans=len(listed),
    )


def plain(text: str, role: str) -> str:
    """No style at all."""
    return text


def trace_lines(
    spans: Iterable[Span],
    *,
    width: int,
    minimum: int = 0,
    only: Callable[[Span], bool] = lambda span: True,
    glyphs: Glyphs = BOXES,
    style: Style = plain,
) -> list[str]:
    """
    The trace as lines of at most `width` characters.

    Spans that are not among the `only` ones, or shorter than `minimum` nanoseconds, are left out and counted, unless
    they hold one that stays; one that failed is never too short.
    """
    forest = _Forest(spans)
    if not forest.spans:
        return []
    kept = forest.kept(lambda span: only(span) and (_length(span) >= minimum or is_failed(span)))
    rows = list(_rows(forest, kept, glyphs))
    paper = _Paper(rows, forest, width, glyphs, style)
    lines = [paper.line(row) for row in rows]
    hidden = len(forest.spans) - sum(kept)
    if hidden:
        text = f"({counted(hidden, 'span')}{f' under {duration(minimum)}' if minimum else ''} hidden)"
        lines.append(style(_cut(text, width, glyphs), "aside"))
    return lines


class _Forest:
    """
    The spans in order of their start, and who is whose child.

    Each span has one place: below its parent, at the top, or among the orphans, where a ring of parents ends up too.
    """

    def __init__(self, spans: Iterable[Span]) -> None:
        self.spans = sorted(spans, key=lambda span: (span.start_unix_nano, span.end_unix_nano, span.span_id))
        self.numbers: dict[str, int] = {}
        for number, span in enumerate(self.spans):
            self.numbers.setdefault(span.span_id, number)
        self.tops = [number for number, span in enumerate(self.spans) if not span.parent_span_id]
        self.orphans = [
            number
            for number, span in enumerate(self.spans)
            if span.parent_span_id and span.parent_span_id not in self.numbers
        ]
        self.children: list[list[int]] = [[] for _ in self.spans]
        self.order: list[int] = []
        self._plant()

    def _plant(self) -> None:
        wanted: dict[int, list[int]] = defaultdict(list)
        for number, span in enumerate(self.spans):
            if span.parent_span_id in self.numbers:
                wanted[self.numbers[span.parent_span_id]].append(number)
        seen: set[int] = set()
        for number in (*self.tops, *self.orphans):
            self._grow(number, wanted, seen)
        for number in range(len(self.spans)):
            if number not in seen:
                self.orphans.append(number)
                self._grow(number, wanted, seen)

    def _grow(self, top: int, wanted: dict[int, list[int]], seen: set[int]) -> None:
        """Give `top` and all below it their children; `order` has every parent before its children."""
        seen.add(top)
        waiting = [top]
        while waiting:
            number = waiting.pop()
            self.order.append(number)
            self.children[number] = [child for child in wanted[number] if child not in seen]
            seen.update(self.children[number])
            waiting += self.children[number]

    def kept(self, wanted: Callable[[Span], bool]) -> list[bool]:
        """For each span whether it is drawn: what is wanted, and what leads to it."""
        kept = [wanted(span) for span in self.spans]
        for number in reversed(self.order):
            kept[number] = kept[number] or any(kept[child] for child in self.children[number])
        return kept


@dataclass(frozen=True, slots=True)
class _Row:
    """A span behind the lines that lead to it, or a heading."""

    tree: str
    span: Span | None
    heading: str = ""


def _rows(forest: _Forest, kept: Sequence[bool], glyphs: Glyphs) -> Iterator[_Row]:
    for top in forest.tops:
        if kept[top]:
            yield _Row("", forest.spans[top])
            yield from _below(forest, forest.children[top], kept, glyphs)
    orphans = [number for number in forest.orphans if kept[number]]
    if orphans:
        yield _Row("", None, ORPHANS)
        yield from _below(forest, orphans, kept, glyphs)


def _below(forest: _Forest, numbers: Iterable[int], kept: Sequence[bool], glyphs: Glyphs) -> Iterator[_Row]:
    """Rows of the spans and all below them; without recursion, for a trace may be deep."""
    waiting = _branches(numbers, "", kept, glyphs)
    while waiting:
        number, tree, trunk = waiting.pop()
        yield _Row(tree, forest.spans[number])
        waiting += _branches(forest.children[number], trunk, kept, glyphs)


def _branches(numbers: Iterable[int], trunk: str, kept: Sequence[bool], glyphs: Glyphs) -> list[tuple[int, str, str]]:
    """Span, the lines before it and the lines before its children; the first one last, to be popped first."""
    drawn = [number for number in numbers if kept[number]]
    branches = [(number, trunk + glyphs.branch, trunk + glyphs.trunk) for number in drawn[:-1]]
    branches += [(number, trunk + glyphs.last, trunk + glyphs.space) for number in drawn[-1:]]
    return branches[::-1]


class _Paper:
    """The columns: what it is, where it ran, how long it took, and when."""

    def __init__(self, rows: Sequence[_Row], forest: _Forest, width: int, glyphs: Glyphs, style: Style) -> None:
        self._forest = forest
        self._width = width
        self._glyphs = glyphs
        self._style = style
        self._begin = min(span.start_unix_nano for span in forest.spans)
        self._length = max(1, max(span.end_unix_nano for span in forest.spans) - self._begin)
        spans = [row for row in rows if row.span is not None]
        longest = max((len(self._label(row)) for row in spans), default=1)
        farthest = max((len(_where(row.span, glyphs)) for row in spans if row.span is not None), default=0)
        self._where = min(farthest, width // 4) if width >= 70 else 0
        room = width - _DURATION_WIDTH - len(_GAP) - (self._where and self._where + len(_GAP))
        fewest = room * 2 // 5 if room >= 30 else 0
        self._name = max(1, min(longest, room - fewest - (len(_GAP) if fewest else 0)))
        self._bar = room - self._name - len(_GAP) if fewest else 0

    def line(self, row: _Row) -> str:
        if row.span is None:
            return self._style(_cut(row.heading, self._width, self._glyphs), "aside")
        bad = is_failed(row.span)
        label = _cut(self._label(row), self._name, self._glyphs)
        columns = [self._style(label.ljust(self._name), "error" if bad else "name")]
        if self._where:
            where = _cut(_where(row.span, self._glyphs), self._where, self._glyphs)
            columns.append(self._style(where.ljust(self._where), "where"))
        columns.append(self._style(duration(_length(row.span)).rjust(_DURATION_WIDTH), "time"))
        if self._bar:
            columns.append(self._drawn(row.span, "error" if bad else "bar"))
        return _GAP.join(columns)

    def _label(self, row: _Row) -> str:
        assert row.span is not None
        span = row.span
        attempt = span.attributes.get(STEP_ATTEMPT, "1")
        texts = [row.tree + span.name + iteration_of(span) + (f" #{attempt}" if attempt != "1" else "")]
        if is_failed(span):
            reason = span.attributes.get(ERROR_TYPE) or span.status_message or "failed"
            texts.append(f"{self._glyphs.failed} {_cut(reason, _LONGEST_REASON, self._glyphs)}")
        texts += [f"{self._glyphs.link} {self._link(link, span.name)}" for link in span.links[:_MOST_LINKS]]
        return printable(_GAP.join(texts))

    def _link(self, link: SpanLink, own_name: str) -> str:
        """What it is to us and which one: its name if that is not our own, its attempt, or the trace that it is in."""
        kind = link.attributes.get(LINK_TYPE, "").replace("_", " ") or "see"
        number = self._forest.numbers.get(link.span_id)
        if number is None:
            return f"{kind} in trace {link.trace_id[:8]}"
        target = self._forest.spans[number]
        attempt = target.attributes.get(STEP_ATTEMPT, "")
        name = "" if target.name == own_name else target.name
        return " ".join(word for word in (kind, name, attempt and f"#{attempt}") if word)

    def _drawn(self, span: Span, role: str) -> str:
        """At least one cell, so that nothing is without a place in time."""
        begin = min(self._bar - 1, (span.start_unix_nano - self._begin) * self._bar // self._length)
        end = -((self._begin - span.end_unix_nano) * self._bar // self._length)
        glyph = {"blocked": self._glyphs.waiting, "recover": self._glyphs.mending}.get(span.name, self._glyphs.working)
        return " " * begin + self._style(glyph * (max(end, begin + 1) - begin), role)


def is_failed(span: Span) -> bool:
    """Whether it ended in error."""
    return span.status == SPAN_STATUS_ERROR


def iteration_of(span: Span) -> str:
    """Which iterations of maps it belongs to, the outermost first: " [2]", or " [2][0]"; empty if to none."""
    indexes = [part for part in span.attributes.get(STEP_PATH, "").split("/") if part.isdecimal()]
    return f" [{']['.join(indexes)}]" if indexes else ""


def _length(span: Span) -> int:
    return max(0, span.end_unix_nano - span.start_unix_nano)


def _where(span: Span, glyphs: Glyphs) -> str:
    """The process: its instance if that names the service, else both, a long instance by its end."""
    service = printable(span.service).removeprefix("forgemesh-")
    instance = printable(span.service_instance)
    if not instance or _plain(instance).startswith(_plain(service)):
        return instance or service
    return f"{service}/{instance if len(instance) <= 12 else glyphs.cut + instance[-6:]}"


def _plain(name: str) -> str:
    """Plugin ids have points where instance ids mostly have dashes."""
    return name.replace(".", "-")


def _cut(text: str, width: int, glyphs: Glyphs) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + glyphs.cut
