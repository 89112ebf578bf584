"""All metrics that there are: their names stand here alone, and docs/operations.md lists them."""

from __future__ import annotations

from forgemesh.metrics.metric import AMOUNTS, SECONDS, Kind, Metric

# Every process
LOOP_LAG = Metric(
    "forgemesh.loop.lag", Kind.HISTOGRAM, "s", "How late the event loop took a timer up, twice a second.", (), SECONDS
)
SPANS = Metric("forgemesh.spans", Kind.COUNTER, "1", "Spans by what became of them.", ("fate",))
SPANS_WAITING = Metric(
    "forgemesh.spans.waiting", Kind.GAUGE, "1", "Spans that have not been sent yet, by endpoint.", ("endpoint",)
)
STORE_COMMIT = Metric(
    "forgemesh.store.commit.writes", Kind.HISTOGRAM, "1", "How many writes went into one commit.", (), AMOUNTS
)

# The orchestrator
EXECUTION_DURATION = Metric(
    "forgemesh.execution.duration",
    Kind.HISTOGRAM,
    "s",
    "From the start of an execution to its end.",
    ("workflow", "status"),
    SECONDS,
)
EXECUTIONS_OPEN = Metric(
    "forgemesh.executions.open",
    Kind.GAUGE,
    "1",
    "Open executions: those that run here, and those set aside.",
    ("state",),
)
CALL_DURATION = Metric(
    "forgemesh.call.duration",
    Kind.HISTOGRAM,
    "s",
    "From the moment in which a call was sent to its answer, by what it says of the instance.",
    ("plugin", "outcome"),
    SECONDS,
)
CALLS_IN_FLIGHT = Metric("forgemesh.calls.in_flight", Kind.GAUGE, "1", "Calls that are with instances.")
CALLS_WAITING = Metric("forgemesh.calls.waiting", Kind.GAUGE, "1", "Calls that wait to be sent.", ("plugin",))
OLDEST_WAIT = Metric(
    "forgemesh.calls.oldest_wait",
    Kind.GAUGE,
    "s",
    "How long the call that came first has waited to be sent.",
    ("plugin",),
)
RECONCILER_SAVES = Metric(
    "forgemesh.reconciler.saves", Kind.COUNTER, "1", "Executions that stood still and were woken; each is a bug."
)
SLOTS_LEAKED = Metric(
    "forgemesh.slots.leaked",
    Kind.GAUGE,
    "1",
    "Concurrency slots that nobody uses and nobody gives back; each is a bug.",
)
BUGS = Metric("forgemesh.executions.bugs", Kind.COUNTER, "1", "How often a bug has interrupted an execution.")

# The balancer
INSTANCES = Metric(
    "forgemesh.instances", Kind.GAUGE, "1", "Instances by the verdict of their health checks.", ("plugin", "health")
)
CIRCUITS = Metric("forgemesh.circuits", Kind.GAUGE, "1", "Circuits of instances by their state.", ("plugin", "state"))
CIRCUIT_TRANSITIONS = Metric(
    "forgemesh.circuit.transitions",
    Kind.COUNTER,
    "1",
    "Changes of circuits, by the state that began.",
    ("plugin", "state"),
)
INSTANCE_IN_FLIGHT = Metric(
    "forgemesh.instance.in_flight",
    Kind.GAUGE,
    "1",
    "Calls under way on an instance, by all its callers.",
    ("plugin", "instance"),
)
SUBSCRIBERS = Metric("forgemesh.balancer.subscribers", Kind.GAUGE, "1", "Streams that hear of changes.")

# The registry
REGISTRATIONS = Metric("forgemesh.registrations", Kind.GAUGE, "1", "Registered instances.", ("plugin", "state"))
REGISTRY_EVENTS = Metric(
    "forgemesh.registry.events", Kind.COUNTER, "1", "What happened to plugins and instances.", ("kind",)
)

# The trace store
SPANS_STORED = Metric("forgemesh.traces.spans.stored", Kind.COUNTER, "1", "Spans that were written, anew or again.")
SPANS_STORE_DURATION = Metric(
    "forgemesh.traces.store.duration", Kind.HISTOGRAM, "s", "How long one delivery of spans took to write.", (), SECONDS
)

# The supervisor
HOSTS = Metric("forgemesh.hosts", Kind.GAUGE, "1", "Processes of plugins by their state.", ("plugin", "state"))
HOST_EVENTS = Metric(
    "forgemesh.host.events", Kind.COUNTER, "1", "What happened to processes of plugins.", ("plugin", "kind")
)

# A plugin host
INVOCATION_DURATION = Metric(
    "forgemesh.invocation.duration", Kind.HISTOGRAM, "s", "How long operations ran.", ("operation", "outcome"), SECONDS
)
INVOCATIONS_RUNNING = Metric("forgemesh.invocations.running", Kind.GAUGE, "1", "Calls that run.")
INVOCATIONS_WAITING = Metric("forgemesh.invocations.waiting", Kind.GAUGE, "1", "Calls that wait for others to end.")

ALL = tuple(value for value in list(vars().values()) if isinstance(value, Metric))
"""In the order of this page."""
