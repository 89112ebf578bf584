"""Channels to other processes of the mesh."""

from __future__ import annotations

import grpc

MEBIBYTE = 1024 * 1024
SESSION_LIMIT = 4 * MEBIBYTE
LARGEST = 64 * MEBIBYTE
"""Bytes of a message that a server sends, should it have that much to say; most receivers take less."""

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # a name may move with a pod; the default of 30 s is longer than any lease
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.max_send_message_length", SESSION_LIMIT),
)
# keepalive_timeout does not fire in grpc core; the HTTP/2 ping timeout does, so both are set
_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
)


def connect(address: str, *, keepalive: bool = True, receive_limit: int = SESSION_LIMIT) -> grpc.aio.Channel:
    """
    A channel to `address` (host:port), to be closed by the caller; no message that comes is larger than the limit.

    `keepalive` sends pings every 5 s, which only our own servers accept: leave it out towards foreign peers.
    """
    options = channel_options(keepalive=keepalive, receive_limit=receive_limit)
    return grpc.aio.insecure_channel(address, options=options)


def connect_blocking(address: str, *, keepalive: bool = True) -> grpc.Channel:
    """The same for a thread that waits for its answers."""
    return grpc.insecure_channel(address, options=channel_options(keepalive=keepalive))


def channel_options(*, keepalive: bool, receive_limit: int = SESSION_LIMIT) -> tuple[tuple[str, int], ...]:
    """The one set of options for channels; see docs/decisions/0004-server-options.md."""
    limit = ("grpc.max_receive_message_length", receive_limit)
    return (*_OPTIONS, limit, *(_KEEPALIVE if keepalive else ()))
