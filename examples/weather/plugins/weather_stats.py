"""The plugin that sums up daily weather."""

import asyncio
import os

import weather_summaries as summaries
from weather_days import Days
from weather_ledger import entered

from forgemesh.plugin import Context, operation, plugin


@plugin("weather.stats", version="1.2.0", provides=["timeseries.summary@1.0.0"], max_concurrency=8)
class WeatherStats:
    """Summaries of daily weather. Every operation wants at least one day, in order of date."""

    @operation(idempotent=True, timeout="30s")
    async def temperature(self, days: Days, ctx: Context) -> summaries.Temperature:
        """Means, extremes and trend of the daily maximum and minimum, in degrees Celsius."""
        with entered("weather.stats", "temperature", ctx):
            await _pause()
            return summaries.temperature(days)

    @operation(idempotent=True, timeout="30s")
    async def precipitation(self, days: Days, ctx: Context) -> summaries.Precipitation:
        """Total, wet days and longest dry spell, in millimetres."""
        with entered("weather.stats", "precipitation", ctx):
            await _pause()
            return summaries.precipitation(days)

    @operation(idempotent=True, timeout="30s")
    async def wind(self, days: Days, ctx: Context) -> summaries.Wind:
        """Mean, strongest day and windiest month, in metres a second."""
        with entered("weather.stats", "wind", ctx):
            await _pause()
            return summaries.wind(days)


async def _pause() -> None:
    """Leaves time to break something while a call is under way: WEATHER_PAUSE seconds."""
    await asyncio.sleep(float(os.environ.get("WEATHER_PAUSE") or 0))
