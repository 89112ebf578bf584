"""Which spans of a trace decided how long it took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forgemesh.api.traces.v1.span_pb2 import Span


def critical_path(spans: Iterable[Span]) -> dict[str, int]:
    """
    The spans without which the trace would have ended earlier, by id, each with its own share of the time: nanoseconds
    in which it was on the path and none below it was.

    From the end of the longest root backwards: of the spans below the one on the path, the one that ended last before
    the point in time is on it too, and the search goes on before its start. After Zhang et al., "CRISP: Critical Path
    Analysis of Large-Scale Microservice Architectures" (USENIX ATC 2022), section 3.
    """
    known = {span.span_id: span for span in spans}
    below: dict[str, list[Span]] = defaultdict(list)
    for span in known.values():
        below[span.parent_span_id].append(span)
    roots = [span for span in known.values() if span.parent_span_id not in known]
    if not roots:
        return {}
    root = max(roots, key=lambda span: (span.end_unix_nano - span.start_unix_nano, span.span_id))
    shares: dict[str, int] = {}
    waiting = [(root, root.start_unix_nano, root.end_unix_nano)]
    while waiting:
        span, since, until = waiting.pop()
        if span.span_id in shares:  # a ring of parents
            continue
        point, own = until, 0
        for child in sorted(below[span.span_id], key=lambda one: (one.end_unix_nano, one.span_id), reverse=True):
            begin, end = max(child.start_unix_nano, since), min(child.end_unix_nano, point)
            if begin >= point or end < begin or child.end_unix_nano > point < until:  # beside what is on the path
                continue
            own += point - end
            waiting.append((child, begin, end))
            point = begin
        shares[span.span_id] = own + point - since
    return shares
