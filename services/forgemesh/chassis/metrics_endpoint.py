"""The metrics of a process for who comes to read them, in the formats of Prometheus and OpenMetrics."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import AsyncIterator, Iterable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from forgemesh.chassis.containment import contained
from forgemesh.metrics.instrument import Distribution, Histogram, Instrument, Meter
from forgemesh.metrics.metric import Kind

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

_log = logging.getLogger(__name__)

PATH = "/metrics"
PATIENCE = 5.0
"""Seconds that a reader may take to ask, and to take the answer."""
MOST_READERS = 16
"""Readers at once; whoever comes beyond them is sent away."""
LONGEST_REQUEST = 8192
"""Bytes of a request with its headers."""
_TEXT = "text/plain; charset=utf-8"
_UNITS = {"s": "seconds", "By": "bytes"}


@contextlib.asynccontextmanager
async def serving_metrics(meter: Meter, address: str) -> AsyncIterator[str]:
    """
    Answer `GET /metrics` on host:port while the block runs; the address with its real port. An empty one is nowhere.

    What makes the answers is loaded when somebody asks for the first time. A port that is taken is no reason not to
    work: the log says so, and nobody can read.
    """
    readers: set[asyncio.Task[object]] = set()
    host, _, port = address.rpartition(":")
    server: asyncio.Server | None = None
    try:
        if address:
            server = await asyncio.start_server(
                partial(_serve, meter, readers),
                host.strip("[]"),
                int(port),
                limit=LONGEST_REQUEST,
                backlog=MOST_READERS,
            )
    except OSError as error:
        text = "metrics cannot be read at %s: %s; stop what holds the port, or set metrics_listen to another one"
        _log.warning(text, address, error.strerror or error)
    if server is None:
        yield ""
        return
    try:
        yield f"{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for reader in readers:
            reader.cancel()


async def _serve(
    meter: Meter, readers: set[asyncio.Task[object]], asked: asyncio.StreamReader, told: asyncio.StreamWriter
) -> None:
    """One connection, one answer; whoever is slow, goes away or speaks something else costs nothing but that."""
    task = asyncio.current_task()
    assert task is not None
    readers.add(task)
    try:
        with contextlib.suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, asyncio.CancelledError):
            async with asyncio.timeout(PATIENCE):
                if len(readers) <= MOST_READERS:
                    told.write(await _answer(meter, await asked.readuntil(b"\r\n\r\n")))
                    await told.drain()
    finally:
        readers.discard(task)
        told.transport.abort() if told.transport.get_write_buffer_size() else told.close()


async def _answer(meter: Meter, request: bytes) -> bytes:
    first, *headers = request.decode("latin-1").split("\r\n")
    method, _, target = first.partition(" ")
    if method not in ("GET", "HEAD"):
        return _response(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"GET is all that is answered here\n")
    if target.partition(" ")[0].partition("?")[0] != PATH:
        return _response(HTTPStatus.NOT_FOUND, _TEXT, f"the metrics of this process are at {PATH}\n".encode())
    named = (header.partition(":") for header in headers)
    accept = next((value.strip() for name, _, value in named if name.lower() == "accept"), "")
    await asyncio.to_thread(importlib.import_module, "prometheus_client")
    families: list[Family] = []
    for instrument in meter.instruments:
        with contained(f"the metric {instrument.metric.name}"):
            families.append(_family(instrument))
    content_type, body = await asyncio.to_thread(_encoded, families, accept)
    return _response(HTTPStatus.OK, content_type, body, with_body=method == "GET")


def _response(status: HTTPStatus, content_type: str, body: bytes, *, with_body: bool = True) -> bytes:
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return f"{head}\r\nConnection: close\r\n\r\n".encode("latin-1") + (body if with_body else b"")


def _encoded(families: list[Family], accept: str) -> tuple[str, bytes]:
    """Content type and text, with what the system knows of the process."""
    from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415 - loaded when somebody asks
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Families(families))
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


class _Families:
    """Metrics as a collector of prometheus_client gives them."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families

    def describe(self) -> Iterable[Family]:
        return ()


def exposed_name(name: str, unit: str) -> str:
    """A metric's name as Prometheus has it, without `_total`."""
    ending = _UNITS.get(unit, "")
    return name.replace(".", "_") + (f"_{ending}" if ending else "")


def _family(instrument: Instrument) -> Family:
    from prometheus_client import Metric as Family  # noqa: PLC0415 - loaded when somebody asks

    metric = instrument.metric
    family = Family(exposed_name(metric.name, metric.unit), metric.tells, metric.kind.value)
    if isinstance(instrument, Histogram):
        for labels, distribution in instrument.series.items():
            _add_distribution(family, dict(zip(metric.labels, labels, strict=True)), metric.bounds, distribution)
        return family
    ending = "_total" if metric.kind is Kind.COUNTER else ""
    for labels, value in instrument.series.items():
        family.add_sample(family.name + ending, dict(zip(metric.labels, labels, strict=True)), value)
    return family


def _add_distribution(
    family: Family, labels: dict[str, str], bounds: tuple[float, ...], distribution: Distribution
) -> None:
    from prometheus_client.samples import Exemplar  # noqa: PLC0415 - loaded when somebody asks

    reached = 0
    for place, (bound, count) in enumerate(zip((*bounds, float("inf")), distribution.counts, strict=True)):
        reached += count
        seen = distribution.exemplars.get(place)
        exemplar = Exemplar({"trace_id": seen.trace_id.hex()}, seen.value, seen.at) if seen is not None else None
        upper = "+Inf" if bound == float("inf") else repr(bound)
        family.add_sample(f"{family.name}_bucket", {**labels, "le": upper}, reached, exemplar=exemplar)
    family.add_sample(f"{family.name}_count", labels, reached)
    family.add_sample(f"{family.name}_sum", labels, distribution.sum)
