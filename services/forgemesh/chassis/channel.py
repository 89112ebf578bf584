"""Channels to other processes of the mesh."""

from __future__ import annotations

import grpc

MEBIBYTE = 1024 * 1024
SESSION_LIMIT = 4 * MEBIBYTE

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", SESSION_LIMIT),
    ("grpc.max_send_message_length", SESSION_LIMIT),
)
# keepalive_timeout does not fire in grpc core; the HTTP/2 ping timeout does, so both are set
_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
)


def connect(address: str, *, keepalive: bool = True) -> grpc.aio.Channel:
    """
    A channel to `address` (host:port), to be closed by the caller.

    `keepalive` sends pings every 5 s, which only our own servers accept: leave it out towards foreign peers.
    """
    return grpc.aio.insecure_channel(address, options=channel_options(keepalive=keepalive))


def channel_options(*, keepalive: bool) -> tuple[tuple[str, int], ...]:
    """The one set of options for channels; see docs/decisions/0004-server-options.md."""
    return (*_OPTIONS, *(_KEEPALIVE if keepalive else ()))
