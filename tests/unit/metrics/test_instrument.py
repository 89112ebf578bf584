"""Instruments: what they count, and that nobody's labels can fill a process."""

from __future__ import annotations

import pytest

from forgemesh.metrics.instrument import LONGEST_LABEL, MOST_SERIES, OTHER, Counter, Histogram, Meter
from forgemesh.metrics.metric import Kind, Metric

CALLS = Metric("mill.calls", Kind.COUNTER, "1", "Calls.", ("plugin",))
TURNS = Metric("mill.turns", Kind.COUNTER, "1", "Turns.")
TIMES = Metric("mill.times", Kind.HISTOGRAM, "s", "Times.", ("plugin",), (1.0, 2.0))
LOAD = Metric("mill.load", Kind.GAUGE, "1", "Load.", ("plugin",))


def test_a_counter_adds_up_by_its_labels() -> None:
    calls = Counter(CALLS)
    calls.add(labels=("a",))
    calls.add(2.5, ("b",))
    calls.add(labels=("a",))

    assert calls.series == {("a",): 2.0, ("b",): 2.5}


def test_a_counter_without_labels_is_there_before_anything_happened() -> None:
    assert Counter(TURNS).series == {(): 0.0}


@pytest.mark.parametrize(
    ("value", "place"), [(-1.0, 0), (0.0, 0), (1.0, 0), (1.0000001, 1), (2.0, 1), (2.5, 2), (float("inf"), 2)]
)
def test_a_value_counts_below_the_first_bound_that_holds_it(value: float, place: int) -> None:
    times = Histogram(TIMES)
    times.record(value, ("a",))

    assert times.series["a",].counts == [int(at == place) for at in range(3)]


def test_a_histogram_keeps_the_newest_example_of_each_bound_and_none_without_a_trace() -> None:
    times = Histogram(TIMES)
    times.record(0.1, ("a",), b"1" * 16)
    times.record(0.2, ("a",), b"2" * 16)
    times.record(0.3, ("a",))
    times.record(5.0, ("a",), b"3" * 16)

    found = times.series["a",]
    assert {place: (seen.value, seen.trace_id) for place, seen in found.exemplars.items()} == {
        0: (0.2, b"2" * 16),
        2: (5.0, b"3" * 16),
    }
    assert sum(found.counts) == 4
    assert found.sum == pytest.approx(5.6)


def test_labels_beyond_the_bound_are_counted_together_and_those_that_are_known_stay_apart() -> None:
    calls, times, meter = Counter(CALLS), Histogram(TIMES), Meter()
    names = [(f"plugin-{number}",) for number in range(MOST_SERIES + 40)]
    for name in names:
        calls.add(labels=name)
        times.record(0.5, name)
    calls.add(labels=names[0])
    meter.observe(LOAD, lambda: dict.fromkeys(names, 1.0))

    (load,) = meter.instruments
    for series in (calls.series, times.series, load.series):
        assert len(series) == MOST_SERIES + 1
    assert (calls.series[OTHER,], calls.series[names[0]]) == (40.0, 2.0)
    assert sum(times.series[OTHER,].counts) == 40
    assert load.series[OTHER,] == 40.0


def test_a_label_is_cut_and_what_it_is_cut_to_is_one_series() -> None:
    calls = Counter(CALLS)
    for ending in "xyz":
        calls.add(labels=("a" * LONGEST_LABEL + ending,))

    assert calls.series == {("a" * LONGEST_LABEL,): 3.0}


def test_no_metric_is_measured_twice() -> None:
    meter = Meter()
    meter.counter(CALLS)

    with pytest.raises(ValueError, match=r"mill\.calls is measured already"):
        meter.observe_one(CALLS, float)
