"""The runner on Linux, of which there is one for each supervisor."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from forgemesh.plugin_host.supervisor.plan.plan import PluginPlan
from forgemesh.plugin_host.supervisor.processes.linux.cgroup import Cgroups, delegated
from forgemesh.plugin_host.supervisor.processes.linux.orphan_reaper import OrphanReaper, reaping_orphans
from forgemesh.plugin_host.supervisor.processes.linux.process import adopted, parent_pipe, spawned
from forgemesh.plugin_host.supervisor.processes.linux.process_table import Kin, end_kin, new_mark, start_time_of
from forgemesh.plugin_host.supervisor.processes.linux.sweeper import Leftovers, Sweeper
from forgemesh.plugin_host.supervisor.processes.output import OutputLog
from forgemesh.plugin_host.supervisor.processes.runner import HostProcess, Launch, ProcessIdentity

_log = logging.getLogger(__name__)


class LinuxRunner:
    """A Runner; `pipe` is the end of a pipe that breaks when this process ends."""

    def __init__(self, *, pipe: int, cgroups: Cgroups, orphan_reaper: OrphanReaper) -> None:
        self._pipe = pipe
        self._cgroups = cgroups
        self._orphan_reaper = orphan_reaper
        self._sweeper = Sweeper()

    def spawn(self, launch: Launch, log: OutputLog) -> contextlib.AbstractAsyncContextManager[HostProcess]:
        """As the port says; one that ends with the supervisor gets its pipe, and is known to the orphan reaper."""
        outlives = launch.fifo is not None
        return spawned(
            launch.command,
            launch.environment,
            log,
            Leftovers(self._sweeper, spare_detached=launch.spare_detached),
            parent_pipe=None if outlives else self._pipe,
            fifo=launch.fifo,
            memory_limit=launch.limits.memory,
            cgroup=self._cgroups.made(launch.instance_id, launch.limits),
            orphan_reaper=None if outlives else self._orphan_reaper,
            patient=launch.patient,
        )

    def adopt(
        self, identity: ProcessIdentity, log: OutputLog, *, fifo: Path, memory_limit: int, spare_detached: bool
    ) -> contextlib.AbstractAsyncContextManager[HostProcess]:
        """As the port says."""
        leftovers = Leftovers(self._sweeper, spare_detached=spare_detached)
        return adopted(identity, log, leftovers, fifo=fifo, memory_limit=memory_limit)

    def runs(self, identity: ProcessIdentity) -> bool:
        """As the port says."""
        return bool(identity.started) and start_time_of(identity.pid) == identity.started

    def stop(self, identities: Collection[ProcessIdentity]) -> None:
        """As the port says."""
        for identity in identities:
            with contextlib.suppress(OSError):
                descriptor = os.pidfd_open(identity.pid)
                try:
                    if self.runs(identity):  # the descriptor holds the process: its id is not another's now
                        os.killpg(identity.pid, signal.SIGKILL)
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                finally:
                    os.close(descriptor)
        marks = [identity.mark for identity in identities if identity.mark]
        if marks:
            end_kin([Kin(mark) for mark in marks])


@contextlib.contextmanager
def linux_runner(plans: Sequence[PluginPlan]) -> Iterator[LinuxRunner]:
    """One for these plugins, while the block runs."""
    if not new_mark():
        _log.warning("RLIMIT_RTTIME cannot be set here: daemons that plugins start outlive them; see `ulimit -R`")
    with parent_pipe() as pipe, reaping_orphans() as orphan_reaper:
        yield LinuxRunner(pipe=pipe, cgroups=_cgroups(plans), orphan_reaper=orphan_reaper)


def _cgroups(plans: Sequence[PluginPlan]) -> Cgroups:
    """Those that were delegated, if anybody needs one."""
    if not any(plan.limits.memory or plan.limits.cpu for plan in plans):
        return Cgroups(None)
    found = delegated()
    for plan in plans:
        if plan.limits.cpu and not found.there:
            _log.warning("limits.cpu of %s has no effect: no cgroup v2 is delegated to this supervisor", plan.name)
    return found
