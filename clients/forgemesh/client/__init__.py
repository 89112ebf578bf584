"""What a caller needs: connect to a mesh, start workflows, watch them, get their results."""

from forgemesh.client.client import Client
from forgemesh.client.execution import ExecutionFailed, ExecutionHandle

__all__ = ["Client", "ExecutionFailed", "ExecutionHandle"]
