"""What a metric is: its name, kind, unit, labels and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds of durations."""
AMOUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)
"""Upper bounds of how many are together."""


class Kind(Enum):
    """A counter only grows while its process lives, a gauge is as it is, a histogram tells how often what came."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """
    One line of the catalogue. `name` has dots and no unit, as OpenTelemetry writes it; `unit` is in UCUM ("s", "By",
    "1"); `labels` are its dimensions; `bounds` are a histogram's upper bounds, each included.
    """

    name: str
    kind: Kind
    unit: str
    tells: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
