"""The names of attributes on spans, log records and events; each is written down here and nowhere else."""

EXECUTION_ID = "forgemesh.execution.id"
INSTANCE_ID = "forgemesh.instance.id"
LINK_TYPE = "forgemesh.link.type"
STEP_ATTEMPT = "forgemesh.step.attempt"

ERROR_TYPE = "error.type"
SERVICE_INSTANCE_ID = "service.instance.id"
SERVICE_NAME = "service.name"
