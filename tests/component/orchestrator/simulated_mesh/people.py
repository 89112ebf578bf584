"""People who start, stop, repair and copy executions at any moment, and sometimes say the same twice."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from forgemesh.faults import Fault
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.commands.bulk import Bulk, StartOutcome
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.commands.use_cases import UseCases
from forgemesh.orchestrator.execution.ports.starts import IdReuse
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.store.archives import ArchivePacking
from forgemesh.orchestrator.values.payload import json_payload
from tests.component.orchestrator.simulated_mesh.execution_model import ExecutionModel
from tests.component.orchestrator.simulated_mesh.laws import demand
from tests.component.orchestrator.simulated_mesh.library import NAMES, NAMESPACES
from tests.component.orchestrator.simulated_mesh.record import FIRST_SIGNAL, Record

if TYPE_CHECKING:
    from tests.component.orchestrator.simulated_mesh.process_run import ProcessRun

WISHES = {
    "start": 30,
    "start_again": 8,
    "start_many": 6,
    "cancel": 9,
    "terminate": 6,
    "pause": 9,
    "resume": 6,
    "signal": 6,
    "resolve": 10,
    "fork": 8,
    "carry_over": 6,
    "delete": 3,
    "stop_many": 3,
}
IDS = ("red", "green", "blue")


class People:
    """`answers` are those that a request id has got, as the store's name of the execution."""

    def __init__(self, draw: random.Random, record: Record) -> None:
        self.draw = draw
        self.record = record
        self.requests: list[StartRequest] = []
        self._numbers = count()
        self.answers: dict[str, int] = {}
        self.refusals: dict[str, int] = {}

    async def act(self, process_run: ProcessRun) -> None:
        """One of them does something; being refused is part of it."""
        wish = self.draw.choices(list(WISHES), list(WISHES.values()))[0]
        do: Callable[[UseCases], Awaitable[None]] = getattr(self, f"_{wish}")
        try:
            await do(process_run.offered)
        except Fault as fault:
            self.refusals[fault.reason] = self.refusals.get(fault.reason, 0) + 1

    def _request(self) -> StartRequest:
        draw = self.draw
        number = next(self._numbers)
        given = {"n": draw.randint(0, 2), "k": draw.choice(["x", "x", "y", 1, "1"])}
        request_id = f"r{number}" if draw.random() < 0.5 else ""
        signal = e.SignalReceived(FIRST_SIGNAL, json_payload(number)) if draw.random() < 0.25 else None
        return StartRequest(
            namespace=NAMESPACES[draw.random() < 0.1],
            workflow=draw.choice((*NAMES, "keyed", "keyed")),
            execution_id=draw.choice(IDS) if draw.random() < 0.3 else f"e{number}",
            request_id=request_id,
            input=json_payload(given),
            reuse=draw.choice([IdReuse.ALLOW_DUPLICATE, IdReuse.REJECT_DUPLICATE]),
            conflict=draw.choice(["fail", "use_existing", "terminate_existing"]),
            priority=draw.choice([0, 0, 1]),
            signal=signal,
            paused=draw.random() < 0.1,
        )

    async def _start(self, offered: UseCases) -> None:
        request = self._request()
        self.requests.append(request)
        await self._ask(offered, request)

    async def _start_again(self, offered: UseCases) -> None:
        asked = [request for request in self.requests if request.request_id]
        if asked:
            await self._ask(offered, self.draw.choice(asked))

    async def _ask(self, offered: UseCases, request: StartRequest) -> None:
        state, _ = await offered.starts.start(request)
        self._answered(request, state)

    def _answered(self, request: StartRequest, state: ExecutionState) -> None:
        account = self.record.by_run.get(state.run_id)
        demand(account is not None, "what is answered is durable", state.execution_id, state.run_id)
        assert account is not None
        ahead = state.sequence > account.sequence
        demand(account.deleted or not ahead, "what is answered is durable", account.name, state.sequence)
        if not request.request_id or account.deleted:
            return
        before = self.answers.setdefault(request.request_id, account.key)
        same = before == account.key or self.record.accounts[before].deleted
        demand(same, "a request has one answer", request, self.record.accounts[before].name, account.name)

    async def _start_many(self, offered: UseCases) -> None:
        bulk: Bulk = offered.bulk
        number = self.draw.randint(2, 5)
        requests = [replace(self._request(), workflow="keyed", conflict="fail") for _ in range(number)]
        requests = [
            replace(one, execution_id=f"{one.execution_id}-{n}", request_id="") for n, one in enumerate(requests)
        ]
        self.requests += requests
        asked = [lambda request=request: request for request in requests]

        def tell(number: int, outcome: StartOutcome) -> None:
            if isinstance(outcome, tuple):
                self._answered(requests[number], outcome[0])

        await bulk.start(asked, tell)

    def _somebody(self, *, open_only: bool = True) -> ExecutionModel | None:
        """Sometimes one whose id is another's by now."""
        known = [one for one in self.record.accounts.values() if not one.deleted and not (open_only and one.over)]
        return self.draw.choice(known) if known else None

    def _named(self, account: ExecutionModel) -> tuple[str, str]:
        """Its id, and perhaps the run."""
        stale = self.record.by_id.get((account.namespace, account.execution_id)) is not account
        return account.execution_id, account.run_id if stale or self.draw.random() < 0.6 else ""

    def _met(self, run_id: str, met: str) -> ExecutionModel:
        """Whom a command has met; a name that can be given again is no identity."""
        demand(run_id in ("", met), "a command meets the run that it names", run_id, met)
        return self.record.by_run[met]

    async def _cancel(self, offered: UseCases) -> None:
        await self._stop(offered.controls.cancel, lambda one: "" in one.stopped_at)

    async def _terminate(self, offered: UseCases) -> None:
        await self._stop(offered.controls.terminate, lambda one: one.ledger.over == "TERMINATED")

    async def _stop(
        self, stop: Callable[..., Awaitable[ExecutionState]], obeyed: Callable[[ExecutionModel], bool]
    ) -> None:
        account = self._somebody(open_only=self.draw.random() < 0.8)
        if account is not None:
            execution_id, run_id = self._named(account)
            state = await stop(account.namespace, execution_id, "p", "", run_id=run_id)
            met = self._met(run_id, state.run_id)
            demand(obeyed(met) or met.over, "what is answered is durable", met.name)

    async def _pause(self, offered: UseCases) -> None:
        if (account := self._somebody()) is not None:
            interrupt, hold_clock = self.draw.random() < 0.5, self.draw.random() < 0.5
            request = e.PauseRequested(interrupt=interrupt, hold_clock=hold_clock)
            execution_id, run_id = self._named(account)
            state = await offered.controls.pause(account.namespace, execution_id, request, run_id=run_id)
            self._met(run_id, state.run_id)

    async def _resume(self, offered: UseCases) -> None:
        if (account := self._somebody()) is not None:
            execution_id, run_id = self._named(account)
            state = await offered.controls.resume(account.namespace, execution_id, "", "p", run_id=run_id)
            self._met(run_id, state.run_id)

    async def _signal(self, offered: UseCases) -> None:
        if (account := self._somebody()) is not None:
            request = e.SignalReceived(self.draw.choice(["go", "stop"]), json_payload(1), self.draw.choice(["", "1"]))
            execution_id, run_id = self._named(account)
            _, _, met = await offered.controls.signal(account.namespace, execution_id, request, run_id=run_id)
            self._met(run_id, met)

    async def _resolve(self, offered: UseCases) -> None:
        waiting = [account for account in self.record.open_ones() if account.ledger.incidents]
        if waiting:
            account = self.draw.choice(waiting)
            path = self.draw.choice(sorted(account.ledger.incidents))
            await self.resolve(offered, account, path, self.draw.choice(["retry", "retry", "complete", "fail"]))

    async def resolve(self, offered: UseCases, account: ExecutionModel, path: str, action: str) -> None:
        """Decide about a step that waits for a person."""
        payload = json_payload({"n": 0}) if action == "complete" else None
        await offered.controls.resolve(
            account.namespace,
            account.execution_id,
            path,
            action,  # type: ignore[arg-type]
            payload,
            "p",
            "",
            run_id=account.run_id,
        )

    async def _fork(self, offered: UseCases) -> None:
        account = self._somebody(open_only=False)
        if account is None:
            return
        number = next(self._numbers)
        name = (account.namespace, account.execution_id)
        _, points = await offered.executions.checkpoints(*name, 0, 50, account.run_id)
        checkpoint = self.draw.choice([*[point.id for point in points], "", ""])
        rerun = [path for path in account.ledger.begun if self.draw.random() < 0.15]
        request = StartRequest(
            namespace=account.namespace, workflow="", execution_id=f"fork{number}", input=json_payload({})
        )
        self.requests.append(request)
        keep = self.draw.random() < 0.5
        run_id = account.run_id
        await offered.controls.fork(
            request, account.execution_id, checkpoint, None, rerun, keep_signals=keep, run_id=run_id
        )

    async def _carry_over(self, offered: UseCases) -> None:
        account = self._somebody(open_only=False)
        if account is None:
            return
        data = b"".join([piece async for piece in offered.archives.export(account.namespace, account.execution_id)])
        name = f"copy{next(self._numbers)}"
        self.requests.append(self._request())
        self.record.importing[account.namespace, name] = len(ArchivePacking().unpack(data).events)
        await offered.archives.take_over(account.namespace, name, data)

    async def _delete(self, offered: UseCases) -> None:
        account = self._somebody(open_only=False)
        if account is not None:
            execution_id, run_id = self._named(account)
            met = await offered.controls.delete(account.namespace, execution_id, run_id=run_id)
            if met:
                demand(self._met(run_id, met).deleted, "what is answered is durable", execution_id, met)

    async def _stop_many(self, offered: UseCases) -> None:
        chosen = [self._named(account) for account in self.record.open_ones() if account.namespace == "default"]
        act = self.draw.choice([offered.controls.cancel, offered.controls.terminate])

        async def do(execution_id: str, run_id: str) -> str:
            state = await act("default", execution_id, "p", "", run_id=run_id)
            return self._met(run_id, state.run_id).run_id

        await offered.bulk.control(chosen[:4], do)
