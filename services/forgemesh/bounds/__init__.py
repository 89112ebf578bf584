"""
How many entries each list and each map of a message may have, for every message that a process of the mesh receives.

A bound counts what one message holds of a field in all, wherever that stands in it: steps in branches, causes of
causes. It is far above what a mesh at work sends and far below what keeps a process from serving.
docs/operations.md lists the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

PER_MESSAGE: Mapping[str, Mapping[str, int]] = {
    # what travels in many messages
    "forgemesh.api.payload.v1.Payload": {"metadata": 10_000},
    "forgemesh.api.errors.v1.Failure": {"metadata": 10_000, "causes": 10_000},
    "forgemesh.api.plugin.v1.LoadReport": {"named_metrics": 100},
    "forgemesh.api.plugin.v1.Manifest": {
        "provides": 1_000,
        "operations": 1_000,
        "dependencies": 1_000,
        "metadata": 1_000,
    },
    # the orchestrator
    "forgemesh.api.orchestrator.v1.StartExecutionsRequest": {"requests": 1_000},
    "forgemesh.api.orchestrator.v1.StreamStartsRequest": {"starts": 1_000},
    "forgemesh.api.orchestrator.v1.ControlExecutionsRequest": {"execution_ids": 1_000},
    "forgemesh.api.orchestrator.v1.ExecutionFilter": {"workflows": 1_000, "statuses": 100},
    "forgemesh.api.orchestrator.v1.ForkExecutionRequest": {"rerun_steps": 1_000},
    "forgemesh.api.orchestrator.v1.ExecutionArchive": {
        "events": 1_000_000,
        "idempotence": 10_000,
        "published": 10_000,
    },
    "forgemesh.api.orchestrator.v1.Timetable": {"crons": 100, "intervals": 100},
    "forgemesh.api.orchestrator.v1.Workflow": {"steps": 1_000},
    "forgemesh.api.orchestrator.v1.Workflow.Case": {"steps": 1_000, "otherwise": 1_000},
    "forgemesh.api.orchestrator.v1.Workflow.Branch": {"steps": 1_000},
    "forgemesh.api.orchestrator.v1.Workflow.Map": {"steps": 1_000},
    "forgemesh.api.orchestrator.v1.Workflow.Loop": {"steps": 1_000},
    "forgemesh.api.orchestrator.v1.Workflow.Switch": {"cases": 1_000},
    "forgemesh.api.orchestrator.v1.Workflow.Parallel": {"branches": 1_000},
    "forgemesh.api.orchestrator.v1.Workflow.Texts": {"texts": 10_000},
    "forgemesh.api.orchestrator.v1.Workflow.Facts": {"facts": 5_000},
    "forgemesh.api.orchestrator.v1.Workflow.Input": {"types": 1_000},
    "forgemesh.api.orchestrator.v1.Workflow.Assignments": {"assignments": 5_000},
    # the registry
    "forgemesh.api.registry.v1.Instance": {"labels": 64},
    "forgemesh.api.registry.v1.ResolvePluginsRequest": {"requirements": 1_000},
    "forgemesh.api.registry.v1.FindProvidersRequest": {"must": 64, "prefer": 64},
    "forgemesh.api.registry.v1.ReportAvailabilityRequest": {"changes": 1_000},
    "forgemesh.api.registry.v1.ReportEventsRequest": {"events": 500},
    "forgemesh.api.registry.v1.Event": {"facts": 100},
    # the balancer
    "forgemesh.api.balancer.v1.SubscriberHello": {"baseline": 12_000, "circuits": 12_000},
    "forgemesh.api.balancer.v1.OutcomeReport": {"counts": 12_000, "permits": 12_000, "demands": 12_000},
    "forgemesh.api.balancer.v1.CallCounts": {"latencies": 64},
    "forgemesh.api.balancer.v1.PickRequest": {"exclude": 1_000},
    "forgemesh.api.balancer.v1.PluginPolicy": {"operations": 1_000},
    # KEDA, to the balancer
    "externalscaler.ScaledObjectRef": {"scalerMetadata": 64},
    # stock clients, to the balancer
    "envoy.service.discovery.v3.DiscoveryRequest": {"resource_names": 10_000},
    "envoy.service.load_stats.v3.LoadStatsRequest": {"cluster_stats": 12_000},
    "envoy.service.load_stats.v3.ClusterStats": {"upstream_locality_stats": 12_000},
    # the supervisor
    "forgemesh.api.supervisor.v1.LoadPluginsRequest": {"names": 1_000},
    # sessions, both ways
    "forgemesh.api.plugin.v1.SessionRequest": {"invocations": 65_536, "cancels": 65_536},
    "forgemesh.api.plugin.v1.SessionResponse": {"accepted": 65_536, "results": 65_536, "progress": 65_536},
    # spans
    "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest": {"resource_spans": 1_000},
    "opentelemetry.proto.trace.v1.ResourceSpans": {"scope_spans": 1_000},
    "opentelemetry.proto.trace.v1.ScopeSpans": {"spans": 10_000},
    "opentelemetry.proto.trace.v1.Span": {"attributes": 500, "events": 1_000, "links": 1_000},
    "opentelemetry.proto.trace.v1.Span.Event": {"attributes": 5_000},
    "opentelemetry.proto.trace.v1.Span.Link": {"attributes": 5_000},
    "opentelemetry.proto.resource.v1.Resource": {"attributes": 5_000, "entity_refs": 1_000},
    "opentelemetry.proto.common.v1.EntityRef": {"id_keys": 1_000, "description_keys": 1_000},
    "opentelemetry.proto.common.v1.InstrumentationScope": {"attributes": 5_000},
    "opentelemetry.proto.common.v1.ArrayValue": {"values": 10_000},
    "opentelemetry.proto.common.v1.KeyValueList": {"values": 10_000},
}

BOUNDS: Mapping[str, int] = {
    f"{message}.{field}": bound for message, fields in PER_MESSAGE.items() for field, bound in fields.items()
}

APART = frozenset(
    {
        "forgemesh.api.orchestrator.v1.StartExecutionsRequest.requests",
        "forgemesh.api.registry.v1.ReportEventsRequest.events",
        "forgemesh.api.balancer.v1.SubscriberHello.baseline",
        "forgemesh.api.balancer.v1.OutcomeReport.counts",
        "forgemesh.api.plugin.v1.SessionRequest.invocations",
    }
)
"""
Lists whose entries have nothing to do with one another: what they hold is counted for each by itself. None of them
holds a list of messages, so that looking into all of them is bounded too.
"""

ALONE = frozenset(
    {
        "forgemesh.api.orchestrator.v1.StreamStartsRequest.starts",
        "forgemesh.api.plugin.v1.SessionResponse.results",
        "forgemesh.api.plugin.v1.SessionResponse.progress",
        "opentelemetry.proto.trace.v1.ScopeSpans.spans",
    }
)
"""As APART, and each entry is counted by who reads it: one that holds too much is refused, and the others are not."""
