"""What a caller needs: connect to a mesh, start workflows, watch and control them, get their results."""

from forgemesh.client.balancer import Balancer
from forgemesh.client.client import Client
from forgemesh.client.control import Cancel, Controlled, Delete, Pause, Resolve, Resume, Signal, Terminate
from forgemesh.client.execution import ExecutionHandle
from forgemesh.client.execution_filter import ExecutionFilter
from forgemesh.client.failure import ExecutionFailed
from forgemesh.client.schedule import Interval, Schedule, SchedulePlan, ScheduleRun
from forgemesh.client.start import Start
from forgemesh.client.status import Status

__all__ = [
    "Balancer",
    "Cancel",
    "Client",
    "Controlled",
    "Delete",
    "ExecutionFailed",
    "ExecutionFilter",
    "ExecutionHandle",
    "Interval",
    "Pause",
    "Resolve",
    "Resume",
    "Schedule",
    "SchedulePlan",
    "ScheduleRun",
    "Signal",
    "Start",
    "Status",
    "Terminate",
]
