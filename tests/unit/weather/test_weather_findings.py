import datetime as dt

import msgspec
import pytest
from weather_findings import Findings, Origin, Sections, SectionsError, merge

from tests.unit.weather.records import days, findings, sections


def test_merging_tells_which_days_and_where_they_came_from() -> None:
    merged = merge(sections(days("2020-01-01", 3)), Origin(source="harbour.csv", gaps=4))

    assert (merged.first, merged.last, merged.days) == (dt.date(2020, 1, 1), dt.date(2020, 1, 3), 3)
    assert merged.origin == Origin(source="harbour.csv", gaps=4)


def test_summaries_of_different_days_are_not_merged() -> None:
    short, long = sections(days("2020-01-01", 3)), sections(days("2020-01-01", 4))

    with pytest.raises(SectionsError) as refused:
        merge(Sections(long.temperature, long.precipitation, short.wind), Origin())

    assert "temperature: 4 days from 2020-01-01 to 2020-01-04" in str(refused.value)
    assert "wind: 3 days from 2020-01-01 to 2020-01-03" in str(refused.value)


def test_findings_survive_the_way_over_the_wire() -> None:
    told = findings(days("2020-01-01", 3))

    assert msgspec.json.decode(msgspec.json.encode(told), type=Findings) == told
