import inspect
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from weather_days import Record
from weather_prepare import WeatherPrepare
from weather_reader import WeatherReader
from weather_report import WeatherReport
from weather_stats import WeatherStats

from forgemesh.plugin import OperationError
from tests.unit.weather.records import EXAMPLE, SEATTLE, SEATTLE_2012, days, sections

WORKFLOW = yaml.safe_load((EXAMPLE / "workflow.yaml").read_text())
HOSTS = tomllib.loads((EXAMPLE / "forgemesh.toml").read_text())["plugins"]


@dataclass(frozen=True)
class FirstCall:
    """The part of a context that the plugins of this example look at."""

    execution_id: str = "01J9ZC5Y"
    step_path: str = "validate"
    attempt: int = 1
    idempotency_key: str = "01J9ZC5Y/validate"


def calls(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every call step, wherever it is nested."""
    for step in steps:
        if "call" in step:
            yield step
        for case in step.get("switch", []):
            yield from calls(case.get("steps") or case["otherwise"])
        for branch in step.get("parallel", {}).get("branches", {}).values():
            yield from calls(branch)


def called(step: dict[str, Any]) -> Callable[..., Any]:
    """The operation that a call step names, from the class that its plugin's host loads."""
    plugin = step["call"]["plugin"].partition("@")[0]
    module, _, name = HOSTS[plugin.replace(".", "-")]["load"].partition(":")
    operation: Callable[..., Any] = getattr(getattr(import_module(module), name)(), step["call"]["operation"])
    return operation


async def call(operation: Callable[..., Any], **given: Any) -> Any:
    """Calls an operation as a host would: what goes in and out is JSON."""
    parameters = inspect.signature(operation).parameters
    inputs = {
        name: msgspec.json.decode(msgspec.json.encode(value), type=parameters[name].annotation)
        for name, value in given.items()
    }
    answer = operation(**inputs, ctx=FirstCall())
    if inspect.isawaitable(answer):
        answer = await answer
    return msgspec.json.decode(msgspec.json.encode(answer))


async def run(path: Path, directory: Path) -> dict[str, Any]:
    """The steps of the workflow one after the other, without a mesh."""
    prepare, stats = WeatherPrepare(), WeatherStats()
    record = await call(WeatherReader().read, path=str(path))
    prepared = await call(prepare.chunked if len(record["days"]) > 1000 else prepare.direct, **record)
    cleaned = prepared.pop("days")
    branches = (stats.temperature, stats.precipitation, stats.wind)
    analysed = {branch.__name__: await call(branch, days=cleaned) for branch in branches}
    merged = await call(prepare.merge, sections=analysed, origin=prepared)
    report: dict[str, Any] = await call(WeatherReport().render, findings=merged, directory=str(directory))
    return report


async def test_four_years_are_prepared_in_chunks_and_reported(tmp_path: Path) -> None:
    report = await run(SEATTLE, tmp_path)

    assert report["path"] == str(tmp_path / "seattle-weather-report.md")
    assert report["headline"]["hottest_on"] == "2014-08-11"
    assert "Prepared in 4 chunks; 0 duplicates dropped, 0 days missing." in Path(report["path"]).read_text()


async def test_one_year_is_prepared_in_one_go_and_reported(tmp_path: Path) -> None:
    report = await run(SEATTLE_2012, tmp_path)

    assert report["chart"] == str(tmp_path / "seattle-weather-2012-report.svg")
    assert report["headline"]["days"] == 366
    assert "Prepared in one go" in Path(report["path"]).read_text()


async def test_a_refused_file_is_the_readers_own_failure(tmp_path: Path) -> None:
    with pytest.raises(OperationError) as refused:
        await call(WeatherReader().read, path=str(tmp_path / "nowhere.csv"))

    assert refused.value.reason == "CSV_MISSING"
    assert "there is no file" in str(refused.value)
    assert not refused.value.retryable


async def test_summaries_of_different_days_are_refused() -> None:
    mixed = msgspec.structs.replace(sections(days("2020-01-01", 3)), wind=sections(days("2020-01-01", 4)).wind)

    with pytest.raises(OperationError) as refused:
        await call(WeatherPrepare().merge, sections=mixed)

    assert refused.value.reason == "SECTIONS_DISAGREE"


async def test_a_report_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    merged = await call(WeatherPrepare().merge, sections=sections(days("2020-01-01", 3)))

    with pytest.raises(OperationError) as refused:
        await call(WeatherReport().render, findings=merged, directory=str(tmp_path / "taken"))

    assert refused.value.reason == "REPORT_NOT_WRITTEN"
    assert str(tmp_path / "taken") in str(refused.value)


async def test_no_days_are_no_input_for_a_summary() -> None:
    with pytest.raises(msgspec.ValidationError, match="length >= 1"):
        await call(WeatherStats().wind, days=[])


@pytest.mark.parametrize("step", list(calls(WORKFLOW["steps"])), ids=lambda step: step["id"])
def test_every_call_gives_its_operation_what_it_wants(step: dict[str, Any]) -> None:
    wanted = dict(inspect.signature(called(step)).parameters)
    del wanted["ctx"]
    given = set(step["input"])
    if step["input"] == "${steps.validate.output}":
        given = set(Record.__struct_fields__)

    assert given <= set(wanted)
    assert {name for name, each in wanted.items() if each.default is each.empty} <= given


def test_six_hosts_are_started() -> None:
    assert sum(host["instances"] for host in HOSTS.values()) == 6
