"""What a stock client has counted, as an account like that of any other caller."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from forgemesh.balancer.domain.caller import Told
from forgemesh.routing.outcome import CallCounts, CallFailure, CountKey

UNKNOWN = 2
"""The canonical code: a stock client says that calls failed, and not how."""
FAILURE = CallFailure(code=UNKNOWN, message="told by a stock client, which says no more")


class StockCalls(NamedTuple):
    """Calls since the last report, and those under way now."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    in_flight: int = 0

    def plus(self, other: StockCalls) -> StockCalls:
        """Both together."""
        return StockCalls(*(one + another for one, another in zip(self, other, strict=True)))


class StockCounts:
    """
    Adds up what one client reports; `is_there` says whether an instance is, and of one that is not nothing is kept.

    A stock client counts every status but OK as an error: also a call that it took back, one that had too little time,
    one that the instance had no room for. So the call is blamed before the instance. Only what fails beyond the share
    that fails at the plugin's other instances counts as a failure of the instance; without another one to compare with,
    only where nothing succeeds. The rest is ignored.
    """

    def __init__(self, is_there: Callable[[CountKey], bool]) -> None:
        self._is_there = is_there
        self._accounts: dict[CountKey, CallCounts] = {}

    def add(self, reported: Iterable[tuple[CountKey, StockCalls]]) -> list[Told]:
        """A report: the accounts that it changes, as they stand then."""
        calls: defaultdict[CountKey, StockCalls] = defaultdict(StockCalls)
        plugins: defaultdict[str, StockCalls] = defaultdict(StockCalls)
        for key, one in reported:
            if self._is_there(key):
                calls[key] = calls[key].plus(one)
                plugins[key.plugin_id] = plugins[key.plugin_id].plus(one)
        self._accounts = {key: account for key, account in self._accounts.items() if self._is_there(key)}
        told = []
        for key, one in calls.items():
            failed = blamed(one, plugins[key.plugin_id])
            account = self._accounts.get(key, CallCounts()).then(
                CallCounts(
                    started=one.started,
                    succeeded=one.succeeded,
                    failed=failed,
                    ignored=one.failed - failed,
                    failures_in_a_row=0 if one.succeeded else failed,
                    last_failure=FAILURE if failed else None,
                )
            )
            self._accounts[key] = account
            told.append(Told(key, account, one.in_flight))
        return told


def blamed(own: StockCalls, plugin: StockCalls) -> int:
    """How many of an instance's failed calls are its own failures; `plugin` are the calls of all its instances."""
    others = plugin.succeeded + plugin.failed - own.succeeded - own.failed
    if not others:
        return 0 if own.succeeded else own.failed
    usual = (plugin.failed - own.failed) / others
    return max(0, own.failed - round(usual * (own.succeeded + own.failed)))
