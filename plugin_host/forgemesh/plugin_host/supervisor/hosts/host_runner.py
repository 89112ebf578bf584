"""Keeps one instance running for as long as it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.supervisor.v1 import attach_pb2 as pb
from forgemesh.chassis.tasks import lasting, watched
from forgemesh.faults.supervisor import HandshakeRefused
from forgemesh.plugin_host.supervisor.hosts.attachment import Attachment
from forgemesh.plugin_host.supervisor.hosts.blame import Blame
from forgemesh.plugin_host.supervisor.hosts.context import SupervisorContext
from forgemesh.plugin_host.supervisor.hosts.host import RUNNING, SERVING, Host, Phase, State
from forgemesh.plugin_host.supervisor.hosts.inquest import Inquest, reason_of
from forgemesh.plugin_host.supervisor.hosts.process_run import Beginning, ProcessRun
from forgemesh.plugin_host.supervisor.plan.plan import Limits, PluginPlan
from forgemesh.plugin_host.supervisor.processes.ending import Ending
from forgemesh.plugin_host.supervisor.processes.environment import Credentials, host_environment
from forgemesh.plugin_host.supervisor.processes.host_command import command_of
from forgemesh.plugin_host.supervisor.processes.output import OutputLog
from forgemesh.plugin_host.supervisor.processes.runner import HostProcess, Launch
from forgemesh.plugin_host.supervisor.state.owner_key import owner_token
from forgemesh.plugin_host.supervisor.state.reattach_store import ReattachRecord
from forgemesh.plugin_host.waiting import first_of

_log = logging.getLogger(__name__)

ORPHAN_GRACE = 1.0
UNSTARTED_GRACE = 1.0
"""Seconds that a process has to end whose plugin was not started: it has nothing to finish."""
LAST_WORDS = 3.0
"""Seconds that a host has to end by itself once it has said that it cannot go on."""


class HostRunner:
    """
    Starts a process when it is wanted, leads it through its start, and starts it again by its rule when it ends.

    `host` tells where it stands; `on_change` is told each change, with what was before. It waits in HANDSHAKING until
    `initialize` is called; while it is `held`, nobody is to do that. Its first process is the `reattach_record` that an
    earlier supervisor has left, if there is one, until that ends. What ran when a process crashed goes into the `blame`
    of its plugin. `state` is what a predecessor left for it, until it serves. `lost` names what it was stopped for, if
    it is to come back with that. All its processes have one `tenure`, which no other host's have.
    """

    def __init__(
        self,
        plan: PluginPlan,
        instance_id: str,
        context: SupervisorContext,
        blame: Blame,
        on_change: Callable[[HostRunner, Host], None],
        reattach_record: ReattachRecord | None = None,
    ) -> None:
        self.plan = plan
        self.host = Host(instance_id=instance_id, name=plan.name, load=plan.runs, rule=plan.restart)
        self.process_run: ProcessRun | None = None
        self._newest: ProcessRun | None = None
        self.log = OutputLog(context.settings.log_directory / f"{instance_id}.log", source=instance_id)
        self.lost: tuple[str, ...] = ()
        self.wanted = False
        self.held = False
        self.state: pb.SavedState | None = None
        self._inquest = Inquest(blame, context.settings.log_directory / f"{instance_id}.calls")
        self.tenure = (reattach_record.tenure if reattach_record else "") or secrets.token_hex(8)
        self.reattach_record = reattach_record
        self._running: HostProcess | None = None
        self._context = context
        self._on_change = on_change
        self._woken = asyncio.Event()
        self.retired = False
        self._why = ""
        self._disabling = False

    @property
    def instance_id(self) -> str:
        """Its instance."""
        return self.host.instance_id

    @property
    def incarnation(self) -> int:
        """The registration of its newest process, as far as that has said it; 0 for none."""
        return self._newest.ready.incarnation if self._newest else 0

    @property
    def owner_token(self) -> str:
        """With which its registration is made and ended."""
        return owner_token(self._context.key, self.instance_id)

    def start(self) -> None:
        """It is wanted; a host in CRASH_LOOP needs a reset first."""
        self.wanted, self.lost, self._disabling = True, (), False
        if self.host.state is State.DISABLED:
            self._become(self.host.stopped("", self._context.clock()))
        self._woken.set()

    def stop(self, why: str, *, disable: bool = False, lost: tuple[str, ...] = ()) -> None:
        """It is no longer wanted; with `lost` it comes back with that."""
        self.wanted, self.lost, self._why = False, lost, why
        self._disabling = disable
        if self.process_run is not None:
            self.process_run.ending.set()
        elif self.host.state in (State.BACKOFF, State.CRASH_LOOP):
            self._become(self.host.stopped(why, self._context.clock()))
        if self.process_run is None:
            self._disable()
        self._woken.set()

    def retire(self, why: str) -> None:
        """Stop it for good; `run` ends then."""
        self.retired = True
        self.stop(why)

    def reset(self) -> bool:
        """Forget its crashes, and start it again if it stands still for them; False if it is taken out of use."""
        if self.host.state is State.DISABLED:
            return False
        self._inquest.forgive()
        if self.host.state is State.CRASH_LOOP:
            self._become(self.host.reset("it was reset", self._context.clock()))
        else:
            self.host = replace(self.host, crashes=())
        if self.host.state is State.BACKOFF:
            self.host = replace(self.host, next_start_at=self._context.clock())
        self.start()
        return True

    def initialize(self, config: str, revision: int) -> None:
        """Everything that it needs serves."""
        if (
            self.process_run is not None
            and self.host.state is State.HANDSHAKING
            and not self.process_run.serving.is_set()
        ):
            self._become(self.host.initializing(revision, self._context.clock()))
            self.process_run.initialize(Beginning(config, revision, self.state))

    def attach(self, hello: pb.AttachHello) -> Attachment:
        """Its process calls back, or calls again; raises HandshakeRefused and HostProtocolUnsupported."""
        process_run = self.alive(hello.token)
        attachment = process_run.attach(hello)
        self._take_over(process_run)
        return attachment

    def announce(self, token: str, address: str, manifest: manifest_pb2.Manifest) -> None:
        """Its process serves at `address` and leaves the rest to its supervisor; raises HandshakeRefused."""
        process_run = self.alive(token)
        process_run.announced = address
        process_run.introduced(manifest)
        self._take_over(process_run)

    def alive(self, token: str) -> ProcessRun:
        """The run of the process that holds this secret; raises HandshakeRefused."""
        if self.process_run is None:
            raise HandshakeRefused(self.instance_id, "no process of it runs")
        self.process_run.check(token)
        return self.process_run

    def _take_over(self, process_run: ProcessRun) -> None:
        manifest = process_run.manifest
        if manifest is not None and self.host.state is State.STARTING:
            if self._running is not None:
                self._limit(self._running, manifest)
            self._become(self.host.called_back(manifest.plugin_id, manifest.version, self._context.clock()))

    def _limit(self, process: HostProcess, manifest: manifest_pb2.Manifest) -> None:
        """The limits of the manifest hold where the section says nothing."""
        said, declared = self.plan.limits, manifest.limits
        limits = Limits(memory=said.memory or declared.memory_bytes, open_files=said.open_files or declared.open_files)
        if self.plan.command:
            process.bound(limits)
        process.memory_limit = limits.memory

    def waits(self, missing: tuple[str, ...], reason: str) -> None:
        """What keeps it from being initialised."""
        self._adopt(self.host.waiting(missing, reason))

    def misses(self, missing: tuple[str, ...]) -> None:
        """What it works without."""
        self._adopt(self.host.lacking(missing, self.host.trouble, self._context.clock()))

    def configured(self, revision: int) -> None:
        """It has taken on another configuration."""
        self._adopt(self.host.configured(revision))

    async def run(self) -> None:
        """Until it is retired."""
        with contextlib.closing(self.log):
            await lasting(f"the look after {self.instance_id}", self._look_after)

    async def _look_after(self) -> None:
        while not self.retired:
            pause = self._pause()
            if pause is None or pause > 0:
                await first_of(self._woken, timeout=pause)
                self._woken.clear()
                continue
            try:
                await self._live(self.log)
            except OSError as error:
                what = ": ".join(filter(None, (str(error.filename or ""), error.strerror or str(error))))
                self._failed(f"it cannot be started: {what}", Ending(), Phase.SPAWN)
            except Exception as bug:  # noqa: BLE001 - its process is gone with it, and another one is started
                _log.exception("a process of %s was ended by a bug of the supervisor", self.instance_id)
                self._failed(f"a bug of the supervisor ended it ({type(bug).__name__})", Ending(), None)

    def _pause(self) -> float | None:
        """Seconds until the next start; None if there is none to come."""
        if not self.wanted or self.host.state in (State.CRASH_LOOP, State.DISABLED):
            return None
        left = self.host.next_start_at - self._context.clock()
        return max(0.0, min(left, self.host.rule.longest_pause))  # the clock may be set back meanwhile

    async def _live(self, log: OutputLog) -> None:
        """One process, from its start to its end."""
        async with contextlib.AsyncExitStack() as stack:
            async with self._context.slots:
                if not self.wanted:
                    return
                reattach_record = self.reattach_record
                stack.callback(setattr, self, "reattach_record", None)
                token = reattach_record.token if reattach_record else secrets.token_hex(16)
                process_run = ProcessRun(self.instance_id, token, self._keeps_up)
                process = await stack.enter_async_context(self._process(process_run, log, reattach_record))
                self.process_run = self._newest = process_run
                stack.callback(self._bury)
                stack.callback(process_run.questions.end, "its process ended")
                log.forget()
                log.note(f"process {process.identity.pid} {'found again' if reattach_record else 'started'}")
                self._running = process
                if self.plan.command:  # a host of ours does it itself, before anything else
                    process.bound(self.plan.limits)
                self._remember(process, process_run)
                self._become(self.host.started(process.identity.pid, self._context.clock()))
                await first_of(
                    process_run.called_back,
                    process_run.broken,
                    process_run.ending,
                    process.exited,
                    timeout=self.plan.start_timeout,
                )
            if not any(
                one.is_set()
                for one in (process_run.called_back, process_run.broken, process_run.ending, process.exited)
            ):
                process_run.fail(Phase.HANDSHAKE, f"it did not call back within {self.plan.start_timeout:g} s")
            await self._lead(process_run, process)
            await self._conclude(process_run, process, log)

    def _process(
        self, process_run: ProcessRun, log: OutputLog, reattach_record: ReattachRecord | None
    ) -> contextlib.AbstractAsyncContextManager[HostProcess]:
        plan, context = self.plan, self._context
        if reattach_record is not None:
            return context.runner.adopt(
                reattach_record.identity,
                log,
                fifo=self._fifo,
                memory_limit=plan.limits.memory,
                spare_detached=plan.leave_detached,
            )
        credentials = Credentials(
            instance_id=self.instance_id,
            token=process_run.token,
            tenure=self.tenure,
            owner_token=self.owner_token,
            supervisor=context.address,
            running_calls=str(self._inquest.file),
        )
        self._inquest.close()
        launch = Launch(
            instance_id=self.instance_id,
            command=command_of(plan.load, plan.command, plan.python),
            environment=host_environment(plan, context.settings, os.environ, credentials),
            limits=plan.limits,
            fifo=self._fifo if plan.reattach else None,
            patient=not plan.command,
            spare_detached=plan.leave_detached,
        )
        return context.runner.spawn(launch, log)

    async def _lead(self, process_run: ProcessRun, process: HostProcess) -> None:
        """From its call back to its end, or to the moment when it must end."""
        over = (process_run.broken, process_run.ending, process.exited)
        if not any(event.is_set() for event in over):
            await first_of(process_run.go, process_run.serving, *over)
        work = partial(self._context.registrar.run, self, process_run)
        registrar = watched(lasting(f"the registration of the program {self.instance_id}", work))
        try:
            while not any(event.is_set() for event in (process_run.serving, *over)):
                await first_of(process_run.serving, *over, timeout=self.plan.start_timeout)
                if (
                    not any(event.is_set() for event in (process_run.serving, *over))
                    and self._context.registry_is_there()
                ):
                    process_run.fail(Phase.HEALTH, f"it did not serve within {self.plan.start_timeout:g} s")
            if process_run.serving.is_set() and not process_run.broken.is_set() and not process.exited.is_set():
                self.state = None
                revision = process_run.ready.config_revision or self.host.config_revision
                self._become(self.host.configured(revision).ready(self._context.clock()))
                _log.info("%s serves at %s", self.instance_id, process_run.ready.address)
            await first_of(*over)
        finally:
            registrar.cancel()
            await asyncio.gather(registrar, return_exceptions=True)

    async def _conclude(self, process_run: ProcessRun, process: HostProcess, log: OutputLog) -> None:
        """End it if it has not ended, and say how that came."""
        if process_run.ending.is_set() and not process.exited.is_set():
            await self._end(process, log)
            return
        if not process.exited.is_set() and process_run.leaving:
            await first_of(process.exited, timeout=LAST_WORDS)
        if not process.exited.is_set():
            process.kill_group()
            await first_of(process.exited)
        ending = process.ending or Ending()
        log.note(ending.text)
        trouble = process_run.trouble
        if trouble is not None and not ending.out_of_memory:
            self._failed(trouble.reason, ending, trouble.phase)
        else:
            self._failed(reason_of(ending, log), ending, trouble.phase if trouble else None)

    async def _end(self, process: HostProcess, log: OutputLog) -> None:
        served = self.host.state in SERVING
        self._become(self.host.draining(self._context.clock(), self._why or "it was told to stop"))
        grace = self.plan.grace or self._context.settings.grace
        if self._context.orphaned:
            grace = ORPHAN_GRACE
        elif not served:
            grace = min(grace, UNSTARTED_GRACE)
        process.terminate()
        await first_of(process.exited, timeout=grace)
        if not process.exited.is_set():
            log.note(f"did not end within {grace:g} s, killed")
            process.kill_group()
            await first_of(process.exited)
        ending = process.ending or Ending()
        log.note(ending.text)
        why = f"{self._why}; {ending.text}" if self._why else ending.text
        self.process_run = None
        self._become(self.host.stopped(why, self._context.clock(), ending))
        self._disable()

    @property
    def _fifo(self) -> Path:
        return self._context.settings.log_directory / f"{self.instance_id}.pipe"

    def _remember(self, process: HostProcess, process_run: ProcessRun) -> None:
        if not self.plan.reattach:
            return
        context = self._context
        reattach_record = ReattachRecord(
            instance_id=self.instance_id,
            name=self.plan.name,
            pid=process.identity.pid,
            started=process.identity.started,
            token=process_run.token,
            tenure=self.tenure,
            mark=process.identity.mark,
        )
        context.reattach_store.note(reattach_record, context.address)

    def _bury(self) -> None:
        self.process_run = self._running = None
        self._inquest.close()
        self._context.reattach_store.forget(self.instance_id)
        if self.plan.reattach:
            self._fifo.unlink(missing_ok=True)

    def _disable(self) -> None:
        if self._disabling and self.host.state is State.STOPPED:
            self._disabling = False
            self._become(self.host.disabled(self._why, self._context.clock()))

    def _keeps_up(self, trouble: str) -> None:
        self._adopt(self.host.lacking(self.host.missing, trouble, self._context.clock()))

    def _failed(self, reason: str, ending: Ending, phase: Phase | None) -> None:
        if not self.wanted and self.host.state not in RUNNING:
            return
        now = self._context.clock()
        counts = self._inquest.crashed(reason, now)
        _log.warning("%s ended: %s", self.instance_id, reason)
        self.process_run = None
        self._become(self.host.failed(reason, ending, now, random.random(), phase=phase, counts=counts))
        if self.host.state is State.STOPPED:
            self.wanted = False
        elif not self.wanted:
            self.stop(self._why, disable=self._disabling, lost=self.lost)

    def _become(self, host: Host) -> None:
        before, self.host = self.host, host
        self._on_change(self, before)

    def _adopt(self, host: Host) -> None:
        if host != self.host:
            self._become(host)
