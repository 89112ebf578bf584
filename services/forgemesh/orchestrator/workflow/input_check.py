"""Whether an input fits what a definition declares."""

from __future__ import annotations

from forgemesh.faults import Violation
from forgemesh.faults.workflow import ExecutionInputInvalid
from forgemesh.language.json_value import shown
from forgemesh.orchestrator.values.payload import Payload, check_size, read_foreign
from forgemesh.orchestrator.workflow.definition import Definition
from forgemesh.orchestrator.workflow.parse.fields import suggestion


def check_input(definition: Definition, payload: Payload) -> None:
    """Raises PayloadTooLarge or ExecutionInputInvalid, with everything that does not fit."""
    check_size(payload, "the execution's input")
    try:
        value = read_foreign(payload)
    except ValueError as error:
        raise ExecutionInputInvalid(definition.name, [Violation("input", str(error))]) from error
    if definition.input is None:
        return
    if not payload.is_json:
        message = f"the workflow declares its input, so it must be JSON and not {payload.media_type}"
        raise ExecutionInputInvalid(definition.name, [Violation("input", message)])
    violations = list(_misfits(definition, value))
    if violations:
        raise ExecutionInputInvalid(definition.name, violations)


def _misfits(definition: Definition, value: object) -> list[Violation]:
    declared = definition.input or {}
    if not isinstance(value, dict):
        return [Violation("input", f"must be an object with {', '.join(declared)}")]
    found: list[Violation] = []
    for name, field in declared.items():
        if name not in value:
            if field.required:
                found.append(Violation(f"input.{name}", f"is missing; it must be of type {field.type}"))
        elif not _fits(value[name], field.type):
            found.append(Violation(f"input.{name}", f"must be of type {field.type}, not {shown(value[name], 60)}"))
    unknown = [name for name in value if name not in declared]
    found += [Violation(f"input.{name}", f"is not declared{suggestion(name, declared)}") for name in unknown]
    return found


_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
}


def _fits(value: object, type_name: str) -> bool:
    if type_name == "any":
        return True
    if isinstance(value, bool):
        return type_name == "boolean"
    return isinstance(value, _TYPES[type_name])
