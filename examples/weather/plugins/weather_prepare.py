"""The plugin that puts days in order before, and findings together after the analysis."""

from weather_days import Day, Prepared, prepare_chunked, prepare_direct
from weather_findings import Findings, Origin, Sections, SectionsError, merge
from weather_ledger import entered

from forgemesh.plugin import Context, OperationError, operation, plugin


@plugin("weather.prepare", version="1.0.0", max_concurrency=4)
class WeatherPrepare:
    """Cleans daily weather, and merges what was found in it."""

    @operation(idempotent=True, timeout="20s")
    def chunked(self, days: list[Day], source: str, ctx: Context) -> Prepared:
        """The days in order of date, each once, cleaned one calendar year after the other."""
        with entered("weather.prepare", "chunked", ctx):
            return prepare_chunked(days, source)

    @operation(idempotent=True, timeout="20s")
    def direct(self, days: list[Day], source: str, ctx: Context) -> Prepared:
        """The days in order of date, each once, cleaned in one go."""
        with entered("weather.prepare", "direct", ctx):
            return prepare_direct(days, source)

    @operation(idempotent=True, timeout="5s")
    def merge(self, sections: Sections, ctx: Context, origin: Origin | None = None) -> Findings:
        """One model from the three summaries; refuses summaries of different days."""
        with entered("weather.prepare", "merge", ctx):
            try:
                return merge(sections, origin or Origin())
            except SectionsError as disagree:
                raise OperationError("SECTIONS_DISAGREE", str(disagree)) from disagree
