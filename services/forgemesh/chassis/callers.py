"""Who is calling: the connections that have calls under way, by the address at their other end."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import unquote

UNKNOWN = "unknown"
MOST_KNOWN = 10_000
"""Connections of which it is remembered that they have had a call."""


_caller: ContextVar[str] = ContextVar("forgemesh_caller", default="")


def caller() -> str:
    """Whose call this is, as gRPC names it; empty for what a process does by itself."""
    return _caller.get()


class Callers:
    """How many calls each connection has under way; any thread may say and ask."""

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}
        self._known: set[str] = set()
        self._changing = threading.Lock()

    def __len__(self) -> int:
        return len(self._calls)

    @contextmanager
    def calling(self, peer: str) -> Iterator[None]:
        """While the block runs, `peer` (as gRPC names it) has one call more under way."""
        calls = self._calls
        _caller.set(peer)  # the context of a call is its own
        with self._changing:
            calls[peer] = calls.get(peer, 0) + 1
            if peer not in self._known:
                self._know(peer)
        try:
            yield
        finally:
            with self._changing:
                left = calls[peer] - 1
                if left:
                    calls[peer] = left
                else:
                    del calls[peer]

    def _know(self, peer: str) -> None:
        if len(self._known) >= MOST_KNOWN:  # most of them have gone long ago, and nobody says so
            self._known = set(self._calls)
        self._known.add(peer)

    def known(self) -> frozenset[tuple[str, int]]:
        """The same of each that has had a call, as far as that is remembered."""
        with self._changing:
            peers = tuple(self._known)
        return frozenset(place_of(peer) for peer in peers)

    def busy(self) -> frozenset[tuple[str, int]]:
        """Host and port at the other end of each connection that has calls under way."""
        with self._changing:
            peers = tuple(self._calls)
        return frozenset(place_of(peer) for peer in peers)


def place_of(peer: str) -> tuple[str, int]:
    """Host and port of a peer as gRPC names it, such as `ipv4:10.0.0.7:40112`; what has no address is one host."""
    kind, _, rest = peer.partition(":")
    host, _, port = unquote(rest).rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdigit():
        return kind or UNKNOWN, 0
    return plain_host(host.strip("[]")), int(port)


def host_of(peer: str) -> str:
    """The host of a peer as gRPC names it."""
    return place_of(peer)[0]


def plain_host(host: str) -> str:
    """A host's address in one spelling: IPv4 that came over IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
