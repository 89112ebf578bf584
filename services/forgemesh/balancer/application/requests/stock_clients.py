"""Clients that have no code of ours: what each follows, and what it counts."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from forgemesh.balancer.application.balancer import Balancer
from forgemesh.balancer.application.feed.stock_follower import StockFollower
from forgemesh.balancer.domain.caller import Caller
from forgemesh.balancer.domain.discovery import Discovery, Kind, Wanted
from forgemesh.balancer.domain.policies import LONGEST_NAME
from forgemesh.balancer.domain.stock_counts import StockCalls, StockCounts
from forgemesh.chassis.callers import host_of
from forgemesh.faults.routing import BalancerFull
from forgemesh.routing.outcome import CountKey
from forgemesh.routing.scaling import Demanded

_log = logging.getLogger(__name__)

PER_CONNECTION = 8
"""Streams of each of the two kinds: a client process needs one of each."""
LONGEST_REASON = 512
TICK = 1.0
"""Seconds between two looks at instances that grow into their share."""


class StockClient:
    """One stream of one client."""

    def __init__(self, balancer: Balancer, name: str, most: int) -> None:
        self.name = name
        self.library = ""
        self.ended = False
        self.exceeds = False
        self.discovery = Discovery(balancer.epoch, most=most, longest=LONGEST_NAME)
        self.follower = StockFollower(self.discovery.wants)

    def end(self) -> None:
        """It will say nothing more."""
        self.ended = True
        self.follower.nudge()


class StockCounter:
    """The calls of one client."""

    def __init__(self, balancer: Balancer, name: str, boot: str) -> None:
        self._balancer = balancer
        self._name = name
        self._boot = boot
        self._counts = StockCounts(balancer.is_there)
        self._caller: Caller | None = None
        self._sequence = 0

    def add(self, reported: Iterable[tuple[CountKey, StockCalls]]) -> None:
        """What is new since the last report."""
        if self._caller is None:
            self._caller = self._balancer.callers.arrived(self._name, self._boot, ())
        self._sequence += 1
        self._balancer.counted(self._caller, self._sequence, self._counts.add(reported))

    def end(self) -> None:
        """The client tells no more."""
        if self._caller is not None:
            self._balancer.callers.left(self._caller)


class StockClients:
    """
    At most `most_streams` of each kind at a time, no more than half of them from one host; each may name
    `most_names` plugins. `on_missing` is told of plugins that somebody has begun to follow and nobody serves.
    """

    def __init__(
        self,
        balancer: Balancer,
        clock: Callable[[], float],
        *,
        new_id: Callable[[], str],
        most_streams: int,
        most_names: int,
    ) -> None:
        self._balancer = balancer
        self._clock = clock
        self._new_id = new_id
        self._most_streams = most_streams
        self._most_names = most_names
        self._streams: dict[type, Counter[str]] = {StockClient: Counter(), StockCounter: Counter()}
        self.on_missing: Callable[[str], None] = lambda plugin_id: None

    @contextlib.contextmanager
    def following(self, peer: str, name: str) -> Iterator[StockClient]:
        """A stream of a client for the length of the block; raises BalancerWarming and BalancerFull."""
        with self._admitted(StockClient, peer):
            client = StockClient(self._balancer, name, self._most_names)
            with self._balancer.followed(client.follower):
                yield client

    @contextlib.contextmanager
    def counting(self, peer: str, name: str) -> Iterator[tuple[StockCounter, StockFollower]]:
        """The same for what a client counts; the follower hears of nothing but the end."""
        with self._admitted(StockCounter, peer):
            follower = StockFollower(lambda plugin_id: False)
            with self._balancer.followed(follower):
                counter = StockCounter(self._balancer, f"xds {name}", self._new_id())
                try:
                    yield counter, follower
                finally:
                    counter.end()

    def hear(self, client: StockClient, wanted: Wanted) -> None:
        """A client says something."""
        heard = client.discovery.hear(wanted)
        if heard.accepted:
            _log.debug("%s uses %s %s", client.name, wanted.kind.value, client.discovery.accepted(wanted.kind))
        if heard.refused:
            used = client.discovery.accepted(wanted.kind) or "nothing"
            _log.warning(
                "%s cannot use the %s it was sent and keeps %s: %s",
                *(client.name, wanted.kind.value, used, wanted.refusal[:LONGEST_REASON]),
            )
        if heard.left_out and not client.exceeds:
            client.exceeds = True
            _log.warning(
                "%d names that %s gives are left out: at most %d of %d characters are taken",
                *(heard.left_out, client.name, self._most_names, LONGEST_NAME),
            )
        if wanted.kind is Kind.ENDPOINTS:
            for plugin_id in heard.fresh:
                if not self._balancer.feed.snapshot(plugin_id).endpoints:
                    self.on_missing(plugin_id)
                    self._balancer.demands.missed(Demanded(plugin_id, ""))
        client.follower.nudge()

    def pause(self, client: StockClient) -> float | None:
        """Seconds after which something is different although nothing happens; None if that is never."""
        now, feed = self._clock(), self._balancer.feed
        grows = any(feed.snapshot(one).warm_at > now for one in feed.published if client.follower.follows(one))
        return TICK if grows else None

    @contextlib.contextmanager
    def _admitted(self, kind: type, peer: str) -> Iterator[None]:
        streams, host = self._streams[kind], host_of(peer)
        share = max(1, self._most_streams // 2)
        for who, most, where in (
            (peer, PER_CONNECTION, "on this connection"),
            (f"host {host}", share, f"from {host}"),
            ("", self._most_streams, "at this balancer"),
        ):
            if streams[who] >= most:
                raise BalancerFull(streams[who], where)
        holders = (peer, f"host {host}", "")
        streams.update(holders)
        try:
            yield
        finally:
            streams.subtract(holders)
            for who in holders:
                if not streams[who]:
                    del streams[who]
