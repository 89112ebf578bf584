"""The parts of a call: whom it calls, how long it may take, when it is tried again, what undoes it."""

from __future__ import annotations

import semantic_version

from forgemesh.language.json_value import shown
from forgemesh.notation.version_range import LONGEST, InvalidRange, VersionRange
from forgemesh.orchestrator.values.retry import RetryRule
from forgemesh.orchestrator.workflow.definition import CacheRule, Call, Child, Common, Compensation, Target, Timeouts
from forgemesh.orchestrator.workflow.expressions.template import EMPTY
from forgemesh.orchestrator.workflow.parse.document import Reading
from forgemesh.orchestrator.workflow.parse.fields import Fields
from forgemesh.orchestrator.workflow.parse.name_scope import NameScope

MAX_ATTEMPTS = 100
MAX_COEFFICIENT = 100
MAX_PRIORITY = 1_000
_UNDO_ATTEMPTS = 10


def read_call(fields: Fields, common: Common, reading: Reading, scope: NameScope) -> Call:
    """A call, with the keys that stand beside it."""
    call = fields.mapping("call", required=True)
    doubt = fields.choice("in_doubt", ("retry", "fail", "manual"), "manual")
    exhausted = fields.choice("on_exhausted", ("fail", "incident"), "fail")
    if fields.has("cache") and fields.has("compensate"):
        message = "an output that may be another call's has no effect to undo: leave `cache` or `compensate` out"
        fields.mistakes.add((*fields.place, "cache"), message)
    return Call(
        **common.facts(),
        target=_target(call) if call is not None else Target(operation=""),
        input=reading.template(fields, "input", scope, default=EMPTY),
        retry=_retry(fields, RetryRule()),
        timeouts=_timeouts(fields),
        idempotent=fields.flag("idempotent"),
        in_doubt=doubt,  # type: ignore[arg-type]
        on_exhausted=exhausted,  # type: ignore[arg-type]
        compensate=_compensation(fields, reading, scope.with_step(common.id).plus("error")),
        cache=_cache(fields, reading, scope),
        priority=fields.whole("priority", 0, low=-MAX_PRIORITY, high=MAX_PRIORITY),
        affinity=reading.optional_template(fields, "affinity", scope),
    )


def read_child(fields: Fields, common: Common, reading: Reading, scope: NameScope) -> Child:
    """Another workflow as a step, with the keys that stand beside it."""
    child = fields.mapping("workflow", required=True)
    name, version = "", ""
    if child is not None:
        name, version = child.text("name", required=True), child.text("version")
        reading.check_name(name, (*child.place, "name"), wanted=isinstance(child.tree.get("name"), str))
        if version and not semantic_version.validate(version):
            child.mistakes.add((*child.place, "version"), f"{version!r} is not a semantic version such as 1.0.0")
        child.finish()
    close = fields.choice("on_close", ("cancel", "terminate", "abandon"), "cancel")
    exhausted = fields.choice("on_exhausted", ("fail", "incident"), "fail")
    return Child(
        **common.facts(),
        workflow=name,
        version=version,
        input=reading.template(fields, "input", scope, default=EMPTY),
        retry=_retry(fields, RetryRule(max_attempts=1)),
        on_close=close,  # type: ignore[arg-type]
        on_exhausted=exhausted,  # type: ignore[arg-type]
    )


def _target(call: Fields) -> Target:
    """Whom `call`, or what undoes it, calls."""
    given = [key for key in ("plugin", "interface") if call.has(key)]
    if len(given) != 1:
        found = " and ".join(given) or "neither"
        call.mistakes.add(call.place, f"name exactly one of plugin, interface; found {found}")
    plugin, _, plugin_range = call.text("plugin").partition("@")
    interface, _, interface_range = call.text("interface").partition("@")
    operation = call.text("operation", required=True)
    for key, name in (("plugin", plugin), ("interface", interface), ("operation", operation)):
        if not name and isinstance(call.tree.get(key), str):
            call.mistakes.add((*call.place, key), f"{key} names nothing")
    for key, version_range in (("plugin", plugin_range), ("interface", interface_range)):
        _check_range(version_range, call, key)
    must, prefer = _criteria(call)
    call.finish()
    return Target(
        operation=operation,
        plugin_id=plugin,
        interface=interface,
        version_range=plugin_range or interface_range,
        must=must,
        prefer=prefer,
    )


def _criteria(call: Fields) -> tuple[dict[str, str], dict[str, str]]:
    select = call.mapping("select")
    if select is None:
        return {}, {}
    if not call.has("interface"):
        call.mistakes.add(select.place, "only the provider of an interface can be selected; a plugin is named already")
    must, prefer = (_texts(select, key) for key in ("must", "prefer"))
    select.finish()
    return must, prefer


def _texts(fields: Fields, key: str) -> dict[str, str]:
    found = fields.mapping(key)
    return {name: found.text(name, required=True) for name in found.tree} if found is not None else {}


def _check_range(version_range: str, call: Fields, key: str) -> None:
    if len(version_range) > LONGEST:
        message = f"the version range has {len(version_range)} characters, at most {LONGEST} are allowed"
        call.mistakes.add((*call.place, key), message)
        return
    try:
        VersionRange.of(version_range)
    except InvalidRange:
        call.mistakes.add((*call.place, key), f"{version_range!r} is not a version range such as ^1.2 or >=1.0.0")


def _timeouts(fields: Fields) -> Timeouts:
    timeouts = fields.mapping("timeouts")
    if timeouts is None:
        return Timeouts(start_to_close=0.0)
    found = Timeouts(
        start_to_close=timeouts.seconds("start_to_close", None) or 0.0,
        schedule_to_start=timeouts.seconds("schedule_to_start", None),
        schedule_to_close=timeouts.seconds("schedule_to_close", None),
        heartbeat=timeouts.seconds("heartbeat", None),
    )
    timeouts.finish()
    return found


def _retry(fields: Fields, usual: RetryRule) -> RetryRule:
    retry = fields.mapping("retry")
    if retry is None:
        return usual
    rule = RetryRule(
        max_attempts=retry.whole("max_attempts", usual.max_attempts, low=1, high=MAX_ATTEMPTS),
        initial=retry.seconds("initial", usual.initial) or usual.initial,
        coefficient=retry.number("coefficient", usual.coefficient, low=1.0, high=MAX_COEFFICIENT),
        max_interval=retry.seconds("max_interval", usual.max_interval) or usual.max_interval,
        non_retryable=frozenset(_reasons(retry)),
    )
    retry.finish()
    return rule


def _reasons(retry: Fields) -> list[str]:
    reasons = retry.items("non_retryable")
    for index, reason in enumerate(reasons):
        if not isinstance(reason, str):
            retry.mistakes.add((*retry.place, "non_retryable", index), f"{shown(reason, 60)} is not a text")
    return [str(reason) for reason in reasons]


def _compensation(fields: Fields, reading: Reading, scope: NameScope) -> Compensation | None:
    undo = fields.mapping("compensate")
    if undo is None:
        return None
    template = reading.template(undo, "input", scope, default=EMPTY)
    retry, timeouts = _retry(undo, RetryRule(max_attempts=_UNDO_ATTEMPTS)), _timeouts(undo)
    return Compensation(target=_target(undo), input=template, retry=retry, timeouts=timeouts)


def _cache(fields: Fields, reading: Reading, scope: NameScope) -> CacheRule | None:
    cache = fields.mapping("cache")
    if cache is None:
        return None
    if not cache.has("ttl"):
        cache.mistakes.add((*cache.place, "ttl"), "ttl is missing: say how long an output may be kept, such as 10m")
    rule = CacheRule(ttl=cache.seconds("ttl", 60.0) or 60.0, key=reading.optional_template(cache, "key", scope))
    cache.finish()
    return rule
