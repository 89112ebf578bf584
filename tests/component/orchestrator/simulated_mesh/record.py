"""What is durable, read from the disk after every transaction and held against the laws of families and keys."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.engine.concurrency_slots import BY
from forgemesh.orchestrator.execution.fork_names import name_in_origin
from forgemesh.orchestrator.store.events import event_from_stored, opened
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import COMPENSATION, Call, Child, Definition, Wait
from tests.component.orchestrator.simulated_mesh.database import Whims
from tests.component.orchestrator.simulated_mesh.effects import Effects, StepKey
from tests.component.orchestrator.simulated_mesh.execution_model import ExecutionModel
from tests.component.orchestrator.simulated_mesh.family_model import FamilyModel
from tests.component.orchestrator.simulated_mesh.laws import Broken, demand
from tests.component.orchestrator.simulated_mesh.rooms import Rooms

FIRST_SIGNAL = "first"
"""The name of what comes with a request to start."""


HASTE = 50_000_000
"""Nanoseconds by which the disk may tell an end sooner after a beginning than it was."""


@dataclass(frozen=True)
class Moment:
    """When a transaction was committed: in which life, and at which true time."""

    process_run: int = 0
    now: int = 0


class Record:
    """
    Every execution by the store's own key; `find` gives the definition of a name. Raises Broken.

    `kinds` counts the facts that were made.
    """

    def __init__(
        self, disk: sqlite3.Connection, whims: Whims, effects: Effects, find: Callable[[str, str, str], Definition]
    ) -> None:
        self._disk = disk
        self._whims = whims
        self._effects = effects
        self._find = find
        self.position = 0
        self.moment = Moment()
        self.accounts: dict[int, ExecutionModel] = {}
        self.by_id: dict[tuple[str, str], ExecutionModel] = {}
        self.by_run: dict[str, ExecutionModel] = {}
        self.rooms = Rooms()
        self.first_signals: dict[bytes, ExecutionModel] = {}
        """What came with requests to start, by payload; each is another's."""
        self.undoing: dict[tuple[int, str], ExecutionModel] = {}
        self.kinds: Counter[str] = Counter()
        self.events: list[tuple[int, e.Event]] = []
        self.importing: dict[tuple[str, str], int] = {}
        """How many events an import brings along, by namespace and id."""
        effects.run_of = self._run_of
        effects.on_record = self._on_record
        effects.on_leaving = self._leaves
        effects.on_event = self._happened

    def look(self) -> None:
        """Take in what has become durable."""
        sql = "SELECT position, execution, sequence, body FROM event WHERE position > ? ORDER BY position"
        for row in self._disk.execute(sql, (self.position,)).fetchall():
            event = event_from_stored(opened(row["body"], "event"), {}, "event")
            self.position = row["position"]
            self.events.append((row["execution"], event))
            self._enter(row["execution"], event, row["position"])
            self.accounts[row["execution"]].sequence = event.sequence
        self._see_deletions()
        self.rooms.check()

    def _see_deletions(self) -> None:
        """Also those whose answer nobody got, because the orchestrator died behind them."""
        there = {row["key"] for row in self._disk.execute("SELECT key FROM execution").fetchall()}
        for key in self.accounts.keys() - there:
            account = self.accounts[key]
            demand(account.over, "only what has ended is deleted", account.name)
            account.deleted = True

    def _enter(self, key: int, event: e.Event, position: int) -> None:
        self.kinds[type(event.fact).__name__] += 1
        account = self.accounts.get(key)
        if account is None:
            account = self._open(key, event)
        demand(not account.over, "no event after the end", account.name, account.ledger.over, "then", event.fact)
        try:
            account.ledger.enter(event)
        except Broken:
            raise
        except AssertionError as error:
            raise Broken("a history makes sense", f"{account.name}: {error!r} at {event}") from error
        if event.sequence <= account.brought:
            self._remember(account, event.fact, position)
        else:
            if event.sequence == account.brought + 1:
                account.came_at = self.moment.now
            self._about(account, event.fact, position)
        if account.over:
            self._ended(account, event.fact, position)

    def _remember(self, account: ExecutionModel, fact: e.Fact, position: int) -> None:
        """What an import did elsewhere obeyed the laws there; here it only says where it stands."""
        if isinstance(fact, e.ExecutionStarted):
            self.rooms.came(account, queued=fact.queued, known=0)
        elif isinstance(fact, e.ExecutionAdmitted | e.ExecutionQueued):
            account.holds = isinstance(fact, e.ExecutionAdmitted)
            account.queued = not account.holds
        elif isinstance(fact, e.CancelRequested | e.StopRequested | e.CompensationStarted):
            if not getattr(fact, "path", ""):  # it ends or undoes what it did, and takes nobody's place for that
                account.holds = account.queued = False
                account.stopped_at.setdefault("", position)
        elif isinstance(fact, e.ExecutionSucceeded):
            account.output = fact.output.data

    def _open(self, key: int, event: e.Event) -> ExecutionModel:
        row = self._disk.execute("SELECT * FROM execution WHERE key = ?", (key,)).fetchone()
        demand(isinstance(event.fact, e.ExecutionStarted), "a history makes sense", f"it begins with {event}")
        assert isinstance(event.fact, e.ExecutionStarted)
        namespace, execution_id = row["namespace"], row["execution_id"]
        definition = self._find(namespace, row["workflow"], row["workflow_version"])
        ledger = FamilyModel(definition, has_effect=lambda path: bool(self._effects.done.get((key, path))))
        begun_as = self.by_run.get(event.fact.run_id)
        began_at = begun_as.began_at if begun_as is not None else self.moment.now
        account = ExecutionModel(
            key, namespace, execution_id, definition, row["run_id"], ledger, event.fact, began_at=began_at
        )
        self.accounts[key] = account
        account.brought = self.importing.get((namespace, execution_id), 0)
        before = self.by_id.get((namespace, execution_id))
        demand(before is None or before.over or before.deleted, "an id is one open execution's", account.name)
        self.by_id[namespace, execution_id] = self.by_run[row["run_id"]] = account
        return account

    def _about(self, account: ExecutionModel, fact: e.Fact, position: int) -> None:
        match fact:
            case e.ExecutionStarted():
                self._started(account, fact, position)
            case e.ExecutionAdmitted() | e.ExecutionQueued():
                self.rooms.moved(account, admitted=isinstance(fact, e.ExecutionAdmitted))
            case e.StopRequested(path):
                account.stopped_at[path] = position
            case e.CancelRequested(by):
                account.stopped_at.setdefault("", position)
                if by == BY:
                    self.rooms.cancelled(account)
            case e.ResultTaken() | e.EffectTaken():
                self._taken(account, fact)
            case e.ExecutionSucceeded(output):
                account.output = output.data
                demand("" not in account.stopped_at, "who is cancelled does not succeed", account.name)
            case e.SignalReceived(name, payload) if account.origin is None and name == FIRST_SIGNAL:
                before = self.first_signals.setdefault(payload.data, account)
                demand(before is account or before.deleted, "a request signals once", account.name, payload)
            case e.AttemptStarted():
                self._attempt(account, fact, position)
            case _:
                self._about_an_attempt(account, fact)

    def _about_an_attempt(self, account: ExecutionModel, fact: e.Fact) -> None:
        match fact:
            case e.WaitStarted(path):
                account.waits[path] = (self.moment.process_run, self.moment.now)
            case e.WaitEnded(path, _, 0):
                self._waited(account, path)
            case e.StepBlocked(path, attempt):
                account.blocked.add((path, attempt))
            case e.StepUnblocked(path, attempt):
                account.blocked.discard((path, attempt))
            case e.AttemptFailed(path, attempt, failure):
                lost = failure.reason == "ORCHESTRATOR_LOST" and (path, attempt) in account.blocked
                demand(not lost, "what was never sent was never tried", account.name, path, attempt)
            case e.AttemptSucceeded():
                self._succeeded(account, fact)

    def _taken(self, account: ExecutionModel, fact: e.ResultTaken | e.EffectTaken) -> None:
        if isinstance(fact, e.EffectTaken):
            account.effects_taken.add(fact.path)
            account.ownerless.discard(fact.origin_path)
            return
        step = account.definition.step_at(fact.path)
        undoable = isinstance(step, Call) and step.compensate is not None
        if undoable and not fact.skipped and not fact.failure and not fact.owner:
            account.ownerless.add(fact.path)

    def _waited(self, account: ExecutionModel, path: str) -> None:
        """Within one life of the orchestrator no clock that somebody sets shortens a wait."""
        step = account.definition.step_at(path)
        process_run, since = account.waits.get(path, (-1, 0))  # an import has begun it elsewhere
        if process_run == self.moment.process_run and isinstance(step, Wait) and step.seconds is not None:
            took = self.moment.now - since + HASTE
            demand(took >= step.seconds * SECOND, "a wait takes its time", account.name, path, took)

    def _undoes(self, account: ExecutionModel, effect: str) -> None:
        """Whoever begins to undo an effect is its one owner."""
        owner = account
        while effect in owner.effects_taken and owner.origin is not None:
            effect, owner = name_in_origin(effect), owner.origin
        other = self.undoing.setdefault((owner.key, effect), account)
        demand(other is account, "an effect is undone by its one owner", account.name, other.name, owner.name, effect)

    def _started(self, account: ExecutionModel, fact: e.ExecutionStarted, position: int) -> None:
        origin = fact.origin
        self.rooms.came(account, queued=fact.queued, known=self._whims.queued_at.get(position, 0))
        if origin is not None and origin.forked_run:
            account.origin = self.by_run.get(origin.forked_run)
        if origin is not None and origin.parent_id:
            self._born(account, origin, position)

    def _born(self, account: ExecutionModel, origin: e.Origin, position: int) -> None:
        parent = self.by_run.get(origin.parent_run)
        demand(parent is not None, "no child without a parent", account.name)
        assert parent is not None
        account.parent = parent
        attempt = (origin.parent_path, origin.parent_attempt)
        demand(attempt not in parent.children, "a child is started once", account.name, "of", parent.name, attempt)
        parent.children[attempt] = account
        known = self._whims.queued_at.get(position, 0)
        stop = self._stop_around(parent, origin.parent_path)
        demand(not 0 < stop <= known, "no child behind a stopped parent", account.name, "of", parent.name)

    def _stop_around(self, account: ExecutionModel, path: str) -> int:
        """Position of the first stop of anything around a step; 0 if there is none."""
        around = [at for group, at in account.stopped_at.items() if not group or path.startswith(f"{group}/")]
        return min([*around, *([account.ended_at] if account.ended_at else [])], default=0)

    def _attempt(self, account: ExecutionModel, fact: e.AttemptStarted, position: int) -> None:
        path = fact.path
        demand(not account.ownerless, "a result comes with the owner of its effect", account.name, account.ownerless)
        if path.endswith(COMPENSATION):
            if fact.attempt == 1:
                self._undoes(account, path.removesuffix(COMPENSATION))
            return
        known = self._whims.queued_at.get(position, 0)
        for ancestor, child in self._line(account):
            stop = ancestor.ended_at
            demand(
                not 0 < stop <= known,
                "no step begins behind an ended ancestor",
                f"{account.name} begins {path} after the end of {ancestor.name} ({ancestor.ledger.over})",
                child.name,
            )

    def _line(self, account: ExecutionModel) -> list[tuple[ExecutionModel, ExecutionModel]]:
        """Ancestors that have not let it go, each with its child on the way."""
        found: list[tuple[ExecutionModel, ExecutionModel]] = []
        child = account
        while child.parent is not None and child.parent.policy_of(child) != "abandon":
            found.append((child.parent, child))
            child = child.parent
        return found

    def _succeeded(self, account: ExecutionModel, fact: e.AttemptSucceeded) -> None:
        step = account.definition.step_at(fact.path.removesuffix(COMPENSATION))
        if isinstance(step, Child):
            child = account.children.get((fact.path, fact.attempt))
            if account.brought:  # its child may be one that the origin started
                return
            demand(child is not None and child.output == fact.output.data, "a child's output is its own", account.name)
            return
        value = fact.output.value()
        number = value.get("n") if isinstance(value, dict) else None
        output = self._effects.outputs.get(number) if isinstance(number, int) else None
        demand(output is not None, "outputs come from plugins", account.name, fact)
        assert output is not None
        if fact.dispatch is not None and fact.dispatch.cached:
            self._cached(account, fact, step)
        else:
            own = output.step == (account.key, fact.path) and output.attempt == fact.attempt
            demand(own, "outputs come from plugins", account.name, fact, output)

    def _cached(self, account: ExecutionModel, fact: e.AttemptSucceeded, step: object) -> None:
        output = self._effects.outputs[fact.output.value()["n"]]  # type: ignore[index]
        assert isinstance(step, Call)
        target = step.target
        source = self.accounts[output.step[0]]
        same = output.operation == target.operation and target.plugin_id in ("", output.plugin_id)
        fits = all(output.facts.get(name) == wanted for name, wanted in target.must.items())
        demand(same and fits, "a kept output answers the same question", account.name, fact, output)
        there = self._effects.is_served(output.plugin_id, output.version)
        demand(there, "a kept output does not outlive its plugin", account.name, fact, output)
        demand(source.namespace == account.namespace, "kept outputs stay in their namespace", account.name, fact)

    def _ended(self, account: ExecutionModel, fact: e.Fact, position: int) -> None:
        account.ended_at = position
        account.holds = account.queued = False
        status = account.ledger.over
        for child in account.children.values():
            if not child.over and account.policy_of(child) != "abandon" and status != "TERMINATED":
                raise Broken("no child outlives its parent", f"{child.name} goes on after {account.name}: {status}")

    def _run_of(self, namespace: str, execution_id: str) -> int | None:
        account = self.by_id.get((namespace, execution_id))
        return account.key if account is not None else None

    def _on_record(self, step: StepKey) -> int:
        return self.accounts[step[0]].ledger.attempts[step[1]]

    def _leaves(self, step: StepKey) -> None:
        """A call leaves now."""
        account, path = self.accounts[step[0]], step[1]
        end = account.ended_at
        demand(not 0 < end <= self._whims.known, "no call after the end", account.name, path)
        if path.endswith(COMPENSATION):
            return
        for ancestor, _ in self._line(account):
            over = 0 < ancestor.ended_at <= self._whims.known
            demand(not over, "no call behind an ended ancestor", f"{account.name} {path}", ancestor.name)

    def open_ones(self) -> list[ExecutionModel]:
        """Executions that have not ended."""
        return [account for account in self.accounts.values() if not account.over and not account.deleted]

    def _happened(self, step: StepKey) -> None:
        """What must not be repeated happens at most once, unless a person has asked for it again."""
        account, path = self.accounts[step[0]], step[1]
        call = account.definition.step_at(path.removesuffix(COMPENSATION))
        assert isinstance(call, Call)
        if path.endswith(COMPENSATION) or call.in_doubt == "retry":
            return
        if call.idempotent is False or (call.idempotent is None and call.target.operation == "once"):
            done = self._effects.done[step]
            most = 1 + account.ledger.retried_by_people.get(path, 0)
            demand(len(done) <= most, "what must not be repeated happens once", account.name, path, done)

    def check_rows(self) -> None:
        """What lists show is what the histories say."""
        for row in self._disk.execute("SELECT key, status, ended_at FROM execution").fetchall():
            account = self.accounts[row["key"]]
            same = row["status"] == account.ledger.over and row["ended_at"] > 0
            demand(same, "a row says what its history says", account.name, row["status"], account.ledger.over)
