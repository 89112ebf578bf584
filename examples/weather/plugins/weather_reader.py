"""The plugin that reads and checks a CSV file of daily weather."""

from weather_csv import RecordError, read_record
from weather_days import Record
from weather_ledger import entered

from forgemesh.plugin import Context, OperationError, operation, plugin


@plugin("weather.reader", version="1.0.0", max_concurrency=4)
class WeatherReader:
    """Reads daily weather from files."""

    @operation(idempotent=True, timeout="20s")
    def read(self, path: str, ctx: Context) -> Record:
        """The days in a CSV file, in the order of the file; refuses what is not daily weather."""
        with entered("weather.reader", "read", ctx):
            try:
                return read_record(path)
            except RecordError as refused:
                raise OperationError(
                    refused.reason, str(refused), retryable=refused.retryable, metadata=refused.metadata
                ) from refused
