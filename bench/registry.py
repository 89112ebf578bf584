"""
How long the registry takes to resolve: a chain of 10,000 plugins, and a random graph of 2,000 in four versions each.

Usage: python -m bench.registry [--seed 7]
"""

from __future__ import annotations

import argparse
import random
import time

from forgemesh.registry.domain.catalogue import Catalogue
from forgemesh.registry.domain.manifest import Dependency, Manifest, Provided, Requirement
from forgemesh.registry.domain.resolver import resolve
from forgemesh.registry.domain.rules import Rules

CHAIN, GRAPH = 10_000, 2_000
VERSIONS = ("1.0.0", "1.1.0", "1.2.0", "2.0.0")
RANGES = (">=1", "^1 || ^2", "*", ">=1.0.0 !=1.1.0")
INTERFACES = 20


def chain(length: int, *, by_interface: bool) -> Catalogue:
    """Each needs the next one, by its id or by an interface that it alone provides."""
    manifests = []
    for number in range(length):
        needed = Requirement("", f"i{number + 1}", "^1") if by_interface else Requirement(f"p{number + 1}", "", "^1")
        needs = (Dependency(needed),) if number < length - 1 else ()
        provides = (Provided(f"i{number}", "1.2.0"),)
        manifests.append(Manifest(f"p{number}", "1.0.0", provides=provides, dependencies=needs))
    return Catalogue.of(manifests)


def graph(size: int, seed: int) -> Catalogue:
    """Up to six needs each, a fifth of them optional, some for interfaces, and optional ones that lead back."""
    chance = random.Random(seed)
    manifests = []
    for number in range(size):
        for version in VERSIONS:
            needs: dict[str, Dependency] = {}
            for _ in range(chance.randint(0, 6) if number < size - 1 else 0):
                target = f"p{chance.randint(number + 1, size - 1)}"
                needs[target] = Dependency(Requirement(target, "", chance.choice(RANGES)), chance.random() < 0.2)
            if number and chance.random() < 0.2:
                target = f"p{chance.randint(0, number - 1)}"
                needs[target] = Dependency(Requirement(target), optional=True)
            group = number * INTERFACES // size
            if group < INTERFACES - 1 and chance.random() < 0.2:
                interface = f"i{chance.randint(group + 1, INTERFACES - 1)}"
                needs[interface] = Dependency(Requirement("", interface, "^1"))
            provides = (Provided(f"i{group}", "1.2.0"),)
            priority = chance.randint(-3, 3)
            manifests.append(
                Manifest(
                    f"p{number}", version, provides=provides, dependencies=tuple(needs.values()), priority=priority
                )
            )
    return Catalogue.of(manifests)


def measure(name: str, published: Catalogue, wanted: int) -> None:
    """Resolve and print."""
    request = [Requirement(f"p{number}") for number in range(wanted)]
    began = time.perf_counter()
    found = resolve(published, Rules(), request)
    took = time.perf_counter() - began
    levels = found.plugins[-1].level + 1
    print(
        f"{name:<34} {took * 1000:6.0f} ms: {len(found.plugins)} plugins on {levels} levels, "
        f"{len(found.dropped)} optional dependencies dropped"
    )


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    measure(f"chain of {CHAIN}", chain(CHAIN, by_interface=False), 1)
    measure(f"chain of {CHAIN}, by interfaces", chain(CHAIN, by_interface=True), 1)
    measure(f"random graph of {GRAPH} (seed {given.seed})", graph(GRAPH, given.seed), GRAPH)


if __name__ == "__main__":
    main()
