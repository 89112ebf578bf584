"""`forgemesh trace export|import`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from forgemesh.cli.command_line import Given, switch
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem, usage
from forgemesh.cli.progress import counted
from forgemesh.cli.service_address import service_address
from forgemesh.cli.trace_formats import NotTraces, chrome_of, otlp_of, requests_of
from forgemesh.cli.trace_tree import trace_lines
from forgemesh.cli.traces import trace_of
from forgemesh.client import Client
from forgemesh.client.peer import Peer

if TYPE_CHECKING:
    from forgemesh.api.traces.v1.trace_service_pb2 import GetTraceResponse

_STANDARD = "-"
_WIDTH = 120


async def export(
    execution: str,
    file: str = _STANDARD,
    /,
    *,
    format_: Annotated[Literal["otlp-json", "chrome", "tree"], Parameter(name="--format", negative=())] = "otlp-json",
    force: Annotated[bool, switch()] = False,
    line: Given,
) -> None:
    """
    Write a trace for other tools.

    Examples:

        forgemesh trace export @last trace.json

        forgemesh trace export @last --format chrome > chrome.json

    Parameters
    ----------
    execution
        Its id, a unique beginning of it, ID@RUN, or @last; or the 32 digits of a trace.
    file
        Where to; stdout if not given.
    format_
        otlp-json is OpenTelemetry's own, with all that was sent, for collectors, Jaeger and `trace import`; chrome is
        what chrome://tracing and Perfetto open; tree is what `trace show` prints.
    force
        Write over a file that is there.
    """
    if format_ == "tree" and line.terminal.json:
        raise usage("a tree is no JSON", hint="take --format otlp-json or chrome, or leave -o json out")
    path = None if file == _STANDARD else Path(file)
    if path is not None and path.exists() and not force:
        raise usage(f"{path} is there already", hint="say --force to write over it, or name another file")
    trace, _ = await trace_of(execution, line, as_sent=format_ == "otlp-json")
    try:
        document = _document(trace, format_)
    except NotTraces as error:
        raise Problem(
            ExitCode.FAILED,
            f"the trace store gives spans of trace {trace.trace_id} that cannot be read: {error}",
            reason="DATA_CORRUPTED",
            code="DATA_LOSS",
            hint="forgemesh status",
        ) from error
    if path is None and line.terminal.json:
        line.terminal.value(document)
        return
    text = document if isinstance(document, str) else json.dumps(document, indent=1) + "\n"
    if path is None:
        line.terminal.data(*text.splitlines())
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise usage(f"cannot write {path}: {error.strerror}") from error
    line.terminal.talk(f"{counted(len(trace.spans), 'span')} of trace {trace.trace_id} are in {path}")


async def import_(file: str, /, *, line: Given) -> None:
    """
    Store a trace that was exported, so that `trace show` knows it; one that is there already stays as it is.

    Parameters
    ----------
    file
        OTLP in JSON, as `forgemesh trace export` and collectors write it, or - for stdin.
    """
    try:
        requests, trace_ids = requests_of(_read(file))
    except NotTraces as error:
        raise usage(f"{file} holds no traces: {error}", hint="forgemesh trace export ID FILE writes one") from error
    async with Client.connect(line.address) as mesh:
        address = await service_address(mesh, "traces")
    peer, refused, why = Peer("traces", address), 0, ""
    async with peer.channel() as channel:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (  # noqa: PLC0415 - for this alone
            TraceServiceStub,
        )

        store = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        for request in requests:
            answer = await peer.call(store, request)
            refused += answer.partial_success.rejected_spans
            why = why or answer.partial_success.error_message
    if line.terminal.json:
        line.terminal.value({"trace_ids": trace_ids, "refused_spans": refused})
    else:
        line.terminal.data(*trace_ids)
    if refused:
        line.terminal.talk(f"warning: {counted(refused, 'span')} were refused: {why}")


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == _STANDARD else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise usage(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error


def _document(trace: GetTraceResponse, form: str) -> str | dict[str, Any]:
    if form == "otlp-json":
        return otlp_of(trace.sent)
    if form == "chrome":
        return chrome_of(trace.spans)
    return "\n".join(trace_lines(trace.spans, width=_WIDTH)) + "\n"
