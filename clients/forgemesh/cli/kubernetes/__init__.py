"""A plugin on Kubernetes: what is applied so that pods serve it, as values and as YAML. Nothing here asks anybody."""
