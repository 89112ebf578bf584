"""The process's tracer provider: light until the plugin asks for a tracer."""

from __future__ import annotations

import asyncio
import threading
from importlib import import_module
from typing import Any

from opentelemetry import trace

from forgemesh.chassis.telemetry import SpanSink


class LazyTracerProvider(trace.TracerProvider):
    """Loads the SDK with the first tracer: most plugins add no spans and start the sooner for it."""

    def __init__(self, sink: SpanSink) -> None:
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._provider: trace.TracerProvider | None = None
        self._making = threading.Lock()

    def get_tracer(self, *arguments: Any, **options: Any) -> trace.Tracer:
        """A tracer of the SDK."""
        with self._making:
            if self._provider is None:
                author_spans = import_module("forgemesh.plugin_host.host.telemetry.author_spans")
                self._provider = author_spans.tracer_provider(self._sink, self._loop)
        return self._provider.get_tracer(*arguments, **options)


def trace_authors_code(sink: SpanSink) -> None:
    """Send the spans that the code of this process starts to `sink`; once for each process."""
    trace.set_tracer_provider(LazyTracerProvider(sink))
