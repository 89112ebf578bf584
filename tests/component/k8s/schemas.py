"""Strict schemas: those of Kubernetes, and ours for the few kinds of others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from kubernetes_validate import utils
from referencing import Registry, Resource

from tests.component.k8s.manifests import K8S, Document, Manifests, name_of

OLDEST, NEWEST = "1.34.0", "1.37.0"
"""The releases of Kubernetes that the manifests are for."""
OURS = {
    ("keda.sh/v1alpha1", "ScaledObject"): "scaledobject.schema.json",
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): "grpcroute.schema.json",
}


def schema_problems(manifests: Manifests, release: str = OLDEST) -> Iterator[str]:
    """Every field that its kind does not have, every value of the wrong type, every kind without a schema."""
    for document in manifests.documents:
        yield from _problems(json.dumps(document, sort_keys=True), release)


@cache
def _problems(text: str, release: str) -> tuple[str, ...]:
    document: Document = json.loads(text)
    validator = _validator(str(document.get("apiVersion")), str(document.get("kind")), release)
    if validator is None:
        return (f"{name_of(document)}: {document.get('apiVersion')} {document.get('kind')} has no schema",)
    return tuple(f"{name_of(document)}: {_said(error)}" for error in _leaves(validator.iter_errors(document)))


def _leaves(errors: Iterable[ValidationError]) -> Iterator[ValidationError]:
    """What is wrong in the end, below `anyOf` and its like."""
    for error in errors:
        if error.context:
            yield from _leaves(error.context)
        else:
            yield error


def _said(error: ValidationError) -> str:
    return f"{'.'.join(map(str, error.absolute_path)) or 'at the top'}: {error.message}"


@cache
def _validator(api_version: str, kind: str, release: str) -> Validator | None:
    if (api_version, kind) in OURS:
        return Draft202012Validator(_own(OURS[api_version, kind]), registry=_registry(release))
    group, _, version = api_version.rpartition("/")
    name = "-".join(filter(None, (kind.lower(), group.partition(".")[0], version)))
    try:
        schema = utils.schema_contents(f"{_folder(release)}/{name}.json", release)
    except FileNotFoundError:
        return None
    return Draft202012Validator(schema, registry=_registry(release))


@cache
def _registry(release: str) -> Registry[Any]:
    definitions = Resource.from_contents(utils.schema_contents(f"{_folder(release)}/_definitions.json", release))
    registry: Registry[Any] = Registry().with_resource(definitions.id() or "", definitions)
    own: Registry[Any] = registry.with_resource(
        "metadata.schema.json", Resource.from_contents(_own("metadata.schema.json"))
    )
    return own


def _folder(release: str) -> str:
    return f"kubernetes-json-schema/v{release}-local-strict"


def _own(name: str) -> Any:
    return json.loads((K8S / "crs" / name).read_text(encoding="utf-8"))
