"""A field that is misspelt anywhere is found, also where Kubernetes itself takes any name."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.component.k8s.ladder import problems
from tests.component.k8s.manifests import Manifests, name_of, render
from tests.component.k8s.sources import copy_of_k8s, with_every_component


def test_every_field_that_is_misspelt_is_found_in_its_manifest(tmp_path: Path) -> None:
    whole = render(with_every_component(copy_of_k8s(tmp_path)))
    assert problems(whole) == []

    looked_at, unnoticed = set(), []
    for number, document in enumerate(whole.documents):
        for path in fields(document):
            place = (document["kind"], tuple(part for part in path if isinstance(part, str)))
            if place in looked_at:
                continue
            looked_at.add(place)
            found = problems(with_misspelt(whole, number, path))
            if not any(path[-1] in one or f"/{document['metadata']['name']}" in one for one in found):
                unnoticed.append(f"{name_of(document)}: {'.'.join(map(str, path))}: {found[:1]}")

    assert unnoticed == []
    assert len(looked_at) > 300


def fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key, through mappings and lists."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield (*path, key)
            yield from fields(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from fields(below, (*path, index))


def with_misspelt(whole: Manifests, number: int, path: tuple[Any, ...]) -> Manifests:
    """All manifests, with the key at the end of the path of one of them misspelt."""
    documents = list(whole.documents)
    documents[number] = copy.deepcopy(documents[number])
    holder: Any = documents[number]
    for part in path[:-1]:
        holder = holder[part]
    holder[f"{path[-1][:-1]}{path[-1][-1] * 2}"] = holder.pop(path[-1])
    return Manifests(tuple(documents))
