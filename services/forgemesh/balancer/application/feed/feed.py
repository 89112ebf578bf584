"""Published snapshots, and those who follow them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from forgemesh.balancer.application.feed.follower import Follower
from forgemesh.balancer.application.feed.subscription import Loads, Subscription
from forgemesh.balancer.domain.caller import Caller
from forgemesh.balancer.domain.fleet import Fleet
from forgemesh.chassis.containment import contained
from forgemesh.routing.snapshot import Snapshot


class Feed:
    """
    What followers have been told. A plugin whose last instance has gone keeps an empty snapshot. There are two kinds of
    followers: subscribers, who pick by our code and may make trial calls, and stock clients, who do neither.

    `clock` is monotonic; a subscriber hears at least every `heartbeat` seconds. `loads` says how busy a plugin's
    instances are, as far as they matter to a caller.
    """

    def __init__(self, clock: Callable[[], float], loads: Callable[[str, Caller], Loads], *, heartbeat: float) -> None:
        self._clock = clock
        self._loads = loads
        self._heartbeat = heartbeat
        self._published: dict[str, Snapshot] = {}
        self._subscriptions: dict[Subscription, None] = {}
        self._followers: dict[Follower, None] = {}

    @property
    def subscriptions(self) -> Collection[Subscription]:
        """Those who may be given permits."""
        return self._subscriptions.keys()

    @property
    def published(self) -> Collection[str]:
        """The plugins of which followers were told."""
        return self._published.keys()

    def is_followed_by_stock(self, plugin_id: str) -> bool:
        """Whether a client follows the plugin that cannot make trial calls."""
        return any(follower not in self._subscriptions and follower.follows(plugin_id) for follower in self._followers)

    def snapshot(self, plugin_id: str) -> Snapshot:
        """The one that was told last; empty if there was none."""
        return self._published.get(plugin_id) or Snapshot.nothing(plugin_id)

    def page(self, plugin_id: str, after: str, size: int) -> tuple[Sequence[Snapshot], bool]:
        """Snapshots by plugin id, and whether there are more; an empty `plugin_id` means all."""
        found = sorted(key for key in self._published if key > after and plugin_id in ("", key))
        return [self._published[key] for key in found[:size]], len(found) > size

    def open(self, caller: Caller) -> Subscription:
        """A caller follows from now on; first it is told everything."""
        subscription = Subscription(
            caller, self._published.values(), loads=self._loads, heartbeat=self._heartbeat, clock=self._clock
        )
        for plugin_id in self._published:
            subscription.offer_loads(plugin_id)
        self._subscriptions[subscription] = None
        self.join(subscription)
        return subscription

    def join(self, follower: Follower) -> None:
        """It is told of changes from now on."""
        self._followers[follower] = None

    def drop(self, follower: Follower) -> None:
        """It hears no more."""
        self._followers.pop(follower, None)
        if isinstance(follower, Subscription):
            self._subscriptions.pop(follower, None)

    def publish(self, fleet: Fleet) -> None:
        """Tell everybody what is different from what was told last."""
        for plugin_id, revision in fleet.revisions.items():
            published = self._published.get(plugin_id)
            if published is None or published.revision.revision != revision:
                with contained(f"the snapshot of {plugin_id}"):
                    snapshot = self._published[plugin_id] = fleet.snapshot(plugin_id)
                    for follower in self._followers:
                        follower.offer(snapshot)

    def publish_loads(self, plugin_id: str) -> None:
        """Tell everybody how busy a plugin's instances are."""
        for follower in self._followers:
            follower.offer_loads(plugin_id)

    def close(self) -> None:
        """Nobody hears any more."""
        for follower in list(self._followers):
            follower.close()
