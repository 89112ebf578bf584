"""
Writes workflow.schema.json, by which editors complete and check workflows.

It takes names and bounds from the parser. What it refuses the parser refuses too; the parser knows more.
"""

import json
from pathlib import Path
from typing import Any, TypeAlias

from forgemesh.api.orchestrator.v1.workflow_pb2 import Workflow
from forgemesh.language.words import words_of
from forgemesh.notation import duration
from forgemesh.orchestrator.workflow.parse import (
    calls as call_fields,
    definition as language,
    document as document_reading,
    groups as group_fields,
    steps as step_reading,
)

Schema: TypeAlias = dict[str, Any]

TARGET = Path(__file__).resolve().with_name("workflow.schema.json")
CALLS, WORKERS = ("call",), ("call", "workflow")


def written() -> str:
    return json.dumps(schema(), indent=2) + "\n"


def schema() -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ForgeMesh workflow",
        **mapping(definition(), needed=("name", "steps")),
        "$defs": {
            "id": identifier(),
            "template": {"description": "Any value; texts may hold expressions, ${...}"},
            "condition": text("A CEL expression that is true or false", minLength=1),
            "duration": text("Such as 200ms, 5s, 1.5m, 1h or 1d", pattern=whole(duration.WRITTEN.pattern)),
            "version": text("SemVer, such as 1.0.0", pattern=r"^[0-9]+\.[0-9]+\.[0-9]+([-+].*)?$"),
            "assignments": {"type": "object", "propertyNames": ref("id"), "additionalProperties": ref("template")},
            "steps": {"type": "array", "minItems": 1, "maxItems": step_reading.MAX_STEPS, "items": ref("step")},
            "step": step(),
            "call": call(),
            "compensation": compensation(),
            "select": mapping({"must": facts("What it has to have"), "prefer": facts("What decides among several")}),
            "retry": retry(),
            "timeouts": timeouts(),
            "case": case(),
            "join": join(),
            "tolerate": tolerate(),
            "wait": wait(),
        },
    }


def definition() -> Schema:
    types = "|".join(language.TYPES)
    conflict = choice("What becomes of one more", Workflow.OnConflict)
    return {
        "name": name("Unique in its namespace"),
        "version": ref("version"),
        "description": text("For people"),
        "input": {
            "description": "Names and types of the input; a type that ends in ? may be left out",
            "type": "object",
            "additionalProperties": text("", pattern=rf"^({types})\??$"),
        },
        "timeout": ref("duration", "How long an execution may take in all"),
        "vars": ref("assignments", "Variables and what they are at first"),
        "max_concurrency": concurrency("Attempts at once"),
        "concurrency": mapping(
            {
                "key": ref("template", "Executions with the same key share places"),
                "limit": number("Executions at once", 1, step_reading.MAX_CONCURRENCY),
                "on_conflict": conflict,
            },
            needed=("key",),
        ),
        "steps": ref("steps"),
        "output": ref("template", "What an execution returns"),
    }


def step() -> Schema:
    return {
        **mapping(kinds() | common() | beside(), needed=("id",)),
        "oneOf": [{"required": [kind]} for kind in step_reading.KINDS],
        "dependentSchemas": {
            **{key: belongs_to(*CALLS) for key in beside()},
            **{key: belongs_to(*WORKERS) for key in ("input", "retry", "on_exhausted")},
            "cache": {"required": ["call"], "not": {"required": ["compensate"]}},
            "no_match": belongs_to("switch"),
            "on_close": belongs_to("workflow"),
        },
    }


def kinds() -> Schema:
    group = {"join": ref("join"), "tolerate": ref("tolerate"), "max_concurrency": concurrency("Branches at once")}
    branches = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": step_reading.MAX_BRANCHES,
        "propertyNames": ref("id"),
        "additionalProperties": ref("steps"),
    }
    merge = choice("Whose value of a variable counts that several branches set", Workflow.Merge)
    iteration = {"over": ref("template", "The list"), "steps": ref("steps")}
    return {
        "call": ref("call", "Call an operation of a plugin"),
        "switch": {"description": "The first case that is true", "type": "array", "minItems": 1, "items": ref("case")},
        "parallel": mapping({"branches": branches, "merge": merge, **group}, needed=("branches",)),
        "map": mapping({**iteration, **group}, needed=("over", "steps")),
        "loop": mapping(loop(), needed=("until", "max_iterations", "steps")),
        "wait": ref("wait"),
        "workflow": mapping({"name": name("Which workflow"), "version": ref("version")}, needed=("name",)),
    }


def common() -> Schema:
    after = "Neighbours that it waits for; without it, the one before it in the list"
    return {
        "id": ref("id", "Unique among its neighbours"),
        "after": {"description": after, "type": "array", "items": ref("id")},
        "trigger": choice("What those must have come to", Workflow.Trigger),
        "when": ref("condition", "False skips the step"),
        "set": ref("assignments", "Variables that it sets once it has succeeded"),
    }


def beside() -> Schema:
    """What only some kinds of steps have."""
    priority = call_fields.MAX_PRIORITY
    return {
        "input": ref("template", "What it is given"),
        "retry": ref("retry"),
        "timeouts": ref("timeouts"),
        "idempotent": {"description": "Whether two calls have the effect of one", "type": "boolean"},
        "in_doubt": choice("When nobody knows whether it had its effect", Workflow.InDoubt),
        "on_exhausted": choice("What follows the last attempt", Workflow.OnExhausted),
        "compensate": ref("compensation", "What undoes it"),
        "cache": mapping({"ttl": ref("duration"), "key": ref("template", "Instead of the input")}, needed=("ttl",)),
        "priority": number("Those with the highest first", -priority, priority),
        "affinity": ref("template", "A key; equal keys go to the same instance"),
        "no_match": choice("When no case is true", Workflow.NoMatch),
        "on_close": choice("When this execution is stopped", Workflow.OnClose),
    }


def target() -> Schema:
    return {
        "plugin": text("A plugin's id, and a range of versions behind @", pattern="^[^@]+(@.+)?$"),
        "interface": text("An interface's name, and a range of versions behind @", pattern="^[^@]+(@.+)?$"),
        "operation": text("One of its operations", minLength=1),
        "select": ref("select", "Which provider of an interface"),
    }


ONE_TARGET: Schema = {
    "oneOf": [{"required": ["plugin"]}, {"required": ["interface"]}],
    "dependentRequired": {"select": ["interface"]},
}


def call() -> Schema:
    return {**mapping(target(), needed=("operation",)), **ONE_TARGET}


def compensation() -> Schema:
    more = {"input": ref("template"), "retry": ref("retry"), "timeouts": ref("timeouts")}
    return {**mapping(target() | more, needed=("operation",)), **ONE_TARGET}


def retry() -> Schema:
    most = call_fields.MAX_COEFFICIENT
    reasons = "Reasons after which there is no further attempt"
    return mapping(
        {
            "max_attempts": number("In all", 1, call_fields.MAX_ATTEMPTS),
            "initial": ref("duration", "Upper bound of the first pause"),
            "coefficient": {"description": "Of each further one", "type": "number", "minimum": 1, "maximum": most},
            "max_interval": ref("duration", "Upper bound of all pauses"),
            "non_retryable": {"description": reasons, "type": "array", "items": {"type": "string"}},
        }
    )


def timeouts() -> Schema:
    return mapping(
        {
            "start_to_close": ref("duration", "One attempt, from when it leaves for an instance"),
            "schedule_to_start": ref("duration", "One attempt, until it leaves for an instance"),
            "schedule_to_close": ref("duration", "The step, all attempts and pauses included"),
            "heartbeat": ref("duration", "The longest silence of a running attempt"),
        }
    )


def case() -> Schema:
    usual = {"name": ref("id"), "when": ref("condition"), "steps": ref("steps")}
    return {"anyOf": [mapping(usual, needed=("when", "steps")), mapping({"otherwise": ref("steps")}, ("otherwise",))]}


def join() -> Schema:
    quorum = mapping({"quorum": number("Enough successes", 1, group_fields.MAX_QUORUM)}, needed=("quorum",))
    return {"description": "When the group has ended", "anyOf": [{"enum": list(group_fields.MODES)}, quorum]}


def tolerate() -> Schema:
    share = text("A share of the branches, such as 20%", pattern=whole(group_fields.SHARE.pattern))
    return {"description": "Failures that do no harm", "anyOf": [number("", 0, group_fields.MAX_QUORUM), share]}


def loop() -> Schema:
    return {
        "until": ref("condition", "Evaluated after each round; true ends the loop"),
        "max_iterations": number("Rounds at most", 1, step_reading.MAX_ITERATIONS),
        "delay": ref("duration", "From the end of a round to the next one"),
        "on_limit": choice("When it is still false after the last round", Workflow.OnLimit),
        "steps": ref("steps"),
    }


def wait() -> Schema:
    skip = choice("When the signal does not come", Workflow.OnTimeout)
    signal = {"signal": name("Its name"), "timeout": ref("duration"), "on_timeout": skip}
    return {
        "anyOf": [
            mapping({"for": ref("duration")}, needed=("for",)),
            mapping({"until": text("A moment such as 2026-01-31T12:00:00Z")}, needed=("until",)),
            mapping(signal, needed=("signal",)),
        ]
    }


def identifier() -> Schema:
    pattern = whole(document_reading.IDENTIFIER.pattern)
    return {"type": "string", "pattern": pattern, "not": {"enum": sorted(document_reading.RESERVED)}}


def name(description: str) -> Schema:
    return text(description, pattern=whole(document_reading.NAME.pattern))


def concurrency(description: str) -> Schema:
    return number(f"{description}; 0 is no limit", 0, step_reading.MAX_CONCURRENCY)


def mapping(properties: Schema, needed: tuple[str, ...] = ()) -> Schema:
    required = {"required": list(needed)} if needed else {}
    return {"type": "object", "properties": properties, **required, "additionalProperties": False}


def belongs_to(*owners: str) -> Schema:
    return {"anyOf": [{"required": [owner]} for owner in owners]}


def facts(description: str) -> Schema:
    return {"description": description, "type": "object", "additionalProperties": {"type": "string"}}


def text(description: str, **bounds: object) -> Schema:
    return described({"type": "string", **bounds}, description)


def number(description: str, low: int, high: int) -> Schema:
    return described({"type": "integer", "minimum": low, "maximum": high}, description)


def choice(description: str, enumeration: Any) -> Schema:
    """Of the words that the message of a workflow has."""
    return described({"enum": words_of(enumeration.DESCRIPTOR)}, description)


def ref(kind: str, description: str = "") -> Schema:
    return described({"$ref": f"#/$defs/{kind}"}, description)


def described(schema: Schema, description: str) -> Schema:
    return ({"description": description} if description else {}) | schema


def whole(pattern: str) -> str:
    return f"^(?:{pattern})$"


if __name__ == "__main__":
    TARGET.write_text(written(), encoding="utf-8")
