"""A policy of choosing is named in few places: whoever adds one finds them all."""

from __future__ import annotations

import re
from operator import attrgetter
from pathlib import Path

import pytest

from forgemesh.api.balancer.v1 import policy_pb2 as pb
from forgemesh.feed.policies import POLICY
from forgemesh.routing.policy import DEFAULT, Policy

ROOT = Path(__file__).parents[2]
PRODUCT = ("services", "clients", "plugin_host", "protos/forgemesh")
MOST = 3
"""Files: the proto, the policies with what they heed, and the match that leads to the choice; that is a fourth one."""


@pytest.fixture(scope="module")
def product() -> dict[str, str]:
    """
    The text of each of the product's files, in small letters and with one spelling of names.

    Without imports: others may use what a policy's own module offers.
    """
    files = (file for folder in PRODUCT for kind in ("*.py", "*.proto") for file in (ROOT / folder).rglob(kind))
    texts = {str(file.relative_to(ROOT)): file.read_text() for file in files}
    return {
        name: "\n".join(line for line in text.splitlines() if not line.startswith("from ")).replace("-", "_").lower()
        for name, text in texts.items()
    }


def naming(policy: Policy, product: dict[str, str]) -> list[str]:
    """The files that name the policy."""
    name = policy.name.lower()
    named = re.compile(rf"\bpolicy[._]{name}\b|\b{name} = |[\"']{name}[\"']")
    return sorted(file for file, text in product.items() if name in text and named.search(text))


@pytest.mark.parametrize("policy", sorted(set(Policy) - {DEFAULT.pick}, key=attrgetter("name")), ids=attrgetter("name"))
def test_a_policy_is_named_in_three_files_beside_its_own(policy: Policy, product: dict[str, str]) -> None:
    assert len(naming(policy, product)) <= MOST, naming(policy, product)


def test_the_default_policy_is_named_elsewhere_only_as_the_default(product: dict[str, str]) -> None:
    others = set(naming(DEFAULT.pick, product)) - {
        "protos/forgemesh/api/balancer/v1/policy.proto",
        "services/forgemesh/routing/pick.py",
        "services/forgemesh/routing/policy.py",
    }

    assert others == {
        "protos/forgemesh/api/orchestrator/v1/event.proto",
        "services/forgemesh/feed/policies.py",  # what this release does not know
        "services/forgemesh/orchestrator/dispatch/dispatch.py",  # what old records do not say, as event.proto has it
    }


def test_every_policy_has_its_number_in_the_api_and_the_other_way_round() -> None:
    assert sorted(POLICY.values()) == sorted(number for number in pb.Policy.values() if number)
