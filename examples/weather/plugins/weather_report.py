"""The plugin that writes the report."""

from weather_findings import Findings
from weather_ledger import entered
from weather_pages import Written, write_report

from forgemesh.plugin import Context, OperationError, operation, plugin


@plugin("weather.report", version="1.0.0", max_concurrency=4)
class WeatherReport:
    """Writes reports on daily weather as Markdown with a chart beside it."""

    @operation(idempotent=True, timeout="20s")
    def render(self, findings: Findings, directory: str, ctx: Context) -> Written:
        """Writes `<source>-report.md` and `.svg` into the directory, over what stood there before."""
        with entered("weather.report", "render", ctx):
            try:
                return write_report(findings, directory)
            except OSError as error:
                raise OperationError(
                    "REPORT_NOT_WRITTEN",
                    f"the report cannot be written to {directory} ({error.strerror}); name a directory"
                    " in which weather.report may create files",
                    metadata={"directory": directory},
                ) from error
