"""What is published of the plugins that a definition calls, held against what it asks for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

from forgemesh.faults import Violation
from forgemesh.faults.workflow import DefinitionInvalid
from forgemesh.language.allowance import Allowance, SchemaTooCostly
from forgemesh.orchestrator.workflow.call_input import input_mistakes, known_of
from forgemesh.orchestrator.workflow.definition import (
    COMPENSATION,
    UNSAID,
    Call,
    Compensation,
    Definition,
    Published,
    Target,
)
from forgemesh.orchestrator.workflow.parse.fields import suggestion
from forgemesh.orchestrator.workflow.ports import Catalogue, Instances
from forgemesh.orchestrator.workflow.provider import OperationFacts, Provider, careful, eligible, fits, fulfils

_log = logging.getLogger(__name__)

Versions: TypeAlias = Mapping[str, Mapping[str, OperationFacts]]
"""Operations by plugin version."""

CHECKED = 2_000_000
"""Work that a definition's inputs are held against schemas with: some seconds of a slow machine, in a thread."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A definition beside what the registry knew in one moment of every plugin and interface that it names."""

    definition: Definition
    plugins: Mapping[str, Versions | None]
    interfaces: Mapping[str, Sequence[Provider]]

    @classmethod
    async def read(cls, definition: Definition, catalogue: Catalogue) -> Self:
        """Raises ServiceUnreachable."""
        targets = [one.target for _, _, one in _called(definition)]
        plugins: dict[str, Versions | None] = {}
        for target in targets:
            if target.plugin_id and target.plugin_id not in plugins:
                plugins[target.plugin_id] = await catalogue.plugins(target.plugin_id)
        interfaces = sorted({target.interface for target in targets if target.interface})
        return cls(definition, plugins, await catalogue.providers(interfaces))

    def checked(self) -> Definition:
        """The definition with what the registry says about what it calls; raises DefinitionInvalid with every lack."""
        violations: list[Violation] = []
        allowance = Allowance(CHECKED)
        for path, call, called in _called(self.definition):
            target = called.target
            no_pick = self._why_no_plugin(target) if target.plugin_id else self._why_no_interface(target)
            no_picks = [no_pick] if no_pick else self._misfits(called, path, allowance)
            violations += (Violation(path, f"{call.where}{no_pick}") for no_pick in no_picks)
        if violations:
            raise DefinitionInvalid(self.definition.name, violations)
        said = {path: careful(self._facts(called.target)) for path, _, called in _called(self.definition)}
        return replace(self.definition, published={path: one for path, one in said.items() if one != UNSAID})

    def renewed(self) -> Definition:
        """
        The definition with what any version may say that was called since it was registered, the most careful counts.

        Nothing is checked: it is registered.
        """
        known = self.definition.published
        said = {
            path: careful([_as_facts(known.get(path, UNSAID)), *self._facts(called.target)])
            for path, _, called in _called(self.definition)
        }
        return replace(self.definition, published={path: one for path, one in said.items() if one != UNSAID})

    def warnings(self, hosts: Instances) -> list[str]:
        """What is allowed and looks like a mistake; `hosts` know which instances are registered now."""
        found = []
        for path, call, called in _called(self.definition):
            if not self._is_registered(called.target, hosts):
                found.append(
                    f"{path}: {call.where}no instance of {called.target.name!r} that fits is registered right now; the"
                    " step would wait until one is"
                )
        for path, call in self.definition.calls():
            found += (f"{path}: {call.where}{warning}" for warning in self._oddities(path, call))
        return found

    def _oddities(self, path: str, call: Call) -> Iterator[str]:
        published = careful(self._facts(call.target))
        limit, own = self.definition.timeout, call.timeouts.start_to_close
        if limit is not None and own > limit:
            yield f"its start_to_close of {own:g} s is longer than the execution's timeout of {limit:g} s"
        idempotent = call.idempotent if call.idempotent is not None else published.idempotent
        if idempotent is False and call.in_doubt == "retry":
            yield (
                f"{call.target.operation!r} is not idempotent, and `in_doubt: retry` repeats it although it may have"
                " taken effect"
            )

    def _facts(self, target: Target) -> list[OperationFacts]:
        """What every version that fits says about the operation."""
        if target.interface:
            found = eligible(self.interfaces[target.interface], target)
            return [provider.operations[target.operation] for provider in found]
        versions = self.plugins[target.plugin_id] or {}
        return [
            operations[target.operation]
            for version, operations in versions.items()
            if fits(version, target.version_range) and target.operation in operations
        ]

    def _misfits(self, called: Call | Compensation, path: str, allowance: Allowance) -> list[str]:
        """What is wrong with the input if no version takes it, as the last one tells it."""
        mistakes: list[str] = []
        known = known_of(called.input)
        try:
            for schema in dict.fromkeys(facts.input_schema for facts in self._facts(called.target)):
                mistakes = input_mistakes(known, schema, allowance)
                if not mistakes:
                    break
        except SchemaTooCostly:
            message = "%s of %s: whether %r takes its input is not checked: that takes too much work"
            _log.warning(message, path, self.definition.name, called.target.operation)
            return []
        return [f"{called.target.operation!r} does not take this: {mistake}" for mistake in mistakes]

    def _is_registered(self, target: Target, hosts: Instances) -> bool:
        if target.plugin_id:
            return any(fits(version, target.version_range) for version in _registered(target.plugin_id, hosts))
        return any(
            provider.plugin_version in _registered(provider.plugin_id, hosts)
            for provider in eligible(self.interfaces[target.interface], target)
        )

    def _why_no_plugin(self, target: Target) -> str:
        """What is missing for the call, or nothing."""
        plugin_id, versions = target.plugin_id, self.plugins[target.plugin_id]
        if versions is None:
            return f"no plugin {plugin_id!r} was ever published; see `forgemesh plugin list`"
        fitting = [operations for version, operations in versions.items() if fits(version, target.version_range)]
        if not fitting:
            return f"no version of {plugin_id!r} fits {target.version_range!r}; published: {', '.join(versions)}"
        known = frozenset[str]().union(*fitting)
        if target.operation not in known:
            return f"{plugin_id!r} has no operation {target.operation!r}{suggestion(target.operation, known)}"
        return ""

    def _why_no_interface(self, target: Target) -> str:
        name, providers = target.interface, self.interfaces[target.interface]
        if not providers:
            return f"no published plugin provides the interface {name!r}; see `forgemesh plugin list`"
        fitting = [one for one in providers if fulfils(one, target.version_range)]
        if not fitting:
            listed = ", ".join(sorted({one.interface_version for one in providers}))
            return f"no provider of {name!r} fits {target.version_range!r}; published: {listed}"
        known = frozenset[str]().union(*(one.operations for one in fitting))
        if target.operation not in known:
            return f"no provider of {name!r} has an operation {target.operation!r}{suggestion(target.operation, known)}"
        if not eligible(fitting, target):
            wanted = ", ".join(f"{fact}={value}" for fact, value in target.must.items())
            listed = ", ".join(sorted({one.plugin_id for one in fitting}))
            return (
                f"no provider of {name!r} with {target.operation!r} has {wanted} in its metadata; there are: {listed}"
            )
        return ""


def _called(definition: Definition) -> Iterator[tuple[str, Call, Call | Compensation]]:
    """Everything that is called, compensations included, with its path."""
    for path, call in definition.calls():
        yield path, call, call
        if call.compensate is not None:
            yield f"{path}{COMPENSATION}", call, call.compensate


def _as_facts(said: Published) -> OperationFacts:
    return OperationFacts(said.idempotent, said.timeout)


def _registered(plugin_id: str, hosts: Instances) -> set[str]:
    snapshot = hosts.snapshot(plugin_id)
    return {endpoint.plugin_version for endpoint in snapshot.endpoints} if snapshot is not None else set()
