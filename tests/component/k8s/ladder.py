"""All checks that need no cluster, from one door."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from tests.component.k8s.edges import edge_problems
from tests.component.k8s.lifetimes import lifetime_problems
from tests.component.k8s.manifests import Manifests
from tests.component.k8s.pods import pod_problems
from tests.component.k8s.processes import settings_problems
from tests.component.k8s.references import reference_problems
from tests.component.k8s.routes import route_problems
from tests.component.k8s.scaling import scaling_problems
from tests.component.k8s.schemas import schema_problems

CHECKS = (
    settings_problems,
    reference_problems,
    pod_problems,
    lifetime_problems,
    scaling_problems,
    edge_problems,
    route_problems,
)


def problems(manifests: Manifests) -> list[str]:
    """What is wrong, each with the manifest and the field; what does not fit its schema is not looked at further."""
    return list(schema_problems(manifests)) or list(_meaning(manifests))


def _meaning(manifests: Manifests) -> Iterator[str]:
    return chain.from_iterable(check(manifests) for check in CHECKS)
