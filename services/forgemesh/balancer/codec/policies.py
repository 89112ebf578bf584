"""Policies between the API and the domain."""

from __future__ import annotations

from forgemesh.api.balancer.v1 import balancer_service_pb2 as service_pb, policy_pb2 as pb
from forgemesh.balancer.codec.events import LONGEST_NAME, author, author_to_message
from forgemesh.balancer.domain.events import Author
from forgemesh.balancer.domain.policies import PolicyRecord, mistakes_of
from forgemesh.chassis.violations import Violations
from forgemesh.feed.policies import policy_from_message, policy_to_message
from forgemesh.routing.policy import PluginPolicy

_KNOWN = frozenset(pb.Policy.values())
_UNKNOWN = "must be one of Policy"


def change(request: service_pb.SetPolicyRequest) -> tuple[str, PluginPolicy, int | None, Author]:
    """Whose policy is to be which, from which version, and who wants it; raises InvalidRequest."""
    message, found = request.policy, Violations()
    named = 0 < len(message.plugin_id) <= LONGEST_NAME
    found.unless(named, "policy.plugin_id", f"must name the plugin in 1 to {LONGEST_NAME} characters")
    found.unless(message.pick in _KNOWN, "policy.pick", _UNKNOWN)
    for name, own in message.operations.items():
        found.unless(own.pick in _KNOWN, f"policy.operations[{name[:LONGEST_NAME]}].pick", _UNKNOWN)
    policy = policy_from_message(message)
    for mistake in mistakes_of(policy):
        found.unless(False, mistake.field, mistake.message)
    who = author(request.author, found)
    found.refuse()
    expected = request.expected_version if request.HasField("expected_version") else None
    return message.plugin_id, policy, expected, who


def record_to_message(record: PolicyRecord) -> service_pb.PolicyRecord:
    """A policy and where it comes from."""
    message = service_pb.PolicyRecord(policy=policy_to_message(record.policy, record.plugin_id), version=record.version)
    if record.version:
        message.author.CopyFrom(author_to_message(record.author))
    return message
