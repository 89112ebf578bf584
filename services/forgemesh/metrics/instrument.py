"""
The instruments of a process.

They are written at every call, so they are a dictionary of numbers each: 0.3 to 0.6 us a record, where the SDK's
instruments take 5 to 7 (measured together; see docs/decisions/0049-metrics-are-kept-in-plain-numbers.md).
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias, TypeVar

from forgemesh.metrics.metric import Metric

Labels: TypeAlias = tuple[str, ...]
"""The values of a metric's labels, in their order."""

MOST_SERIES = 500
"""Combinations of labels that a metric keeps apart; what comes beyond them is counted under OTHER."""
OTHER = "(other)"
"""Stands for every label of a combination that came when there were enough."""
LONGEST_LABEL = 200
"""Characters of a label's value; the rest is cut."""


class Exemplar(NamedTuple):
    """A value that was measured, in which trace (16 bytes), and when (seconds since 1970)."""

    value: float
    trace_id: bytes
    at: float


class Distribution:
    """How often which values came: a count for each bound and one for what is beyond, their sum, the newest of each."""

    __slots__ = ("counts", "exemplars", "sum")

    def __init__(self, bounds: int) -> None:
        self.counts = [0] * (bounds + 1)
        self.sum = 0.0
        self.exemplars: dict[int, Exemplar] = {}


class Counter:
    """Only grows."""

    __slots__ = ("metric", "series")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.series: dict[Labels, float] = {} if metric.labels else {(): 0.0}

    def add(self, amount: float = 1.0, labels: Labels = ()) -> None:
        """So many more."""
        series = self.series
        if labels in series:
            series[labels] += amount
        else:
            known = _known(series, labels)
            series[known] = series.get(known, 0.0) + amount


class Histogram:
    """How often which values came."""

    __slots__ = ("_bounds", "metric", "series")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._bounds = metric.bounds
        self.series: dict[Labels, Distribution] = {} if metric.labels else {(): Distribution(len(metric.bounds))}

    def record(self, value: float, labels: Labels = (), trace_id: bytes = b"") -> None:
        """This value came, in that trace if it is known."""
        found = self.series.get(labels)
        if found is None:
            found = self.series.setdefault(_known(self.series, labels), Distribution(len(self._bounds)))
        place = bisect_left(self._bounds, value)
        found.counts[place] += 1
        found.sum += value
        if trace_id:
            found.exemplars[place] = Exemplar(value, trace_id, time.time())


class Observed:
    """A counter or a gauge that is looked up when somebody asks: nothing is written meanwhile."""

    __slots__ = ("_look", "metric")

    def __init__(self, metric: Metric, look: Callable[[], Mapping[Labels, float]]) -> None:
        self.metric = metric
        self._look = look

    @property
    def series(self) -> dict[Labels, float]:
        """As it is now, bounded as what is written is."""
        found: dict[Labels, float] = {}
        for labels, value in self._look().items():
            known = labels if labels in found else _known(found, labels)
            found[known] = found.get(known, 0.0) + value
        return found


Instrument: TypeAlias = Counter | Histogram | Observed
_I = TypeVar("_I", Counter, Histogram, Observed)


class Meter:
    """All instruments of a process, each metric once."""

    def __init__(self) -> None:
        self._instruments: dict[str, Instrument] = {}

    def counter(self, metric: Metric) -> Counter:
        """A counter that is written."""
        return self.add(Counter(metric))

    def histogram(self, metric: Metric) -> Histogram:
        """A histogram that is written."""
        return self.add(Histogram(metric))

    def observe(self, metric: Metric, look: Callable[[], Mapping[Labels, float]]) -> None:
        """A counter or gauge whose values `look` gives, by labels."""
        self.add(Observed(metric, look))

    def observe_one(self, metric: Metric, look: Callable[[], float]) -> None:
        """A counter or gauge without labels."""
        self.add(Observed(metric, lambda: {(): look()}))

    @property
    def instruments(self) -> Iterable[Instrument]:
        """In order of their names."""
        return [self._instruments[name] for name in sorted(self._instruments)]

    def add(self, instrument: _I) -> _I:
        """One that is there already, and is written by whoever made it."""
        name = instrument.metric.name
        if name in self._instruments:
            raise ValueError(f"{name} is measured already")
        self._instruments[name] = instrument
        return instrument


def _known(series: Mapping[Labels, object], labels: Labels) -> Labels:
    """Where a combination that is not there yet belongs."""
    cut = tuple([label[:LONGEST_LABEL] for label in labels])
    if cut in series or len(series) < MOST_SERIES:
        return cut
    return (OTHER,) * len(labels)
