import os
import select
import signal
import subprocess
import sys

import pytest

from forgemesh.testing.problem import WorkflowEnvironmentError
from forgemesh.testing.worker import Worker

PATIENCE = 180.0
ABANDONED = """
import sys
from forgemesh.testing.worker import Worker
worker = Worker(30.0)
print(worker.pid, flush=True)
sys.stdin.read()
"""


def test_the_process_is_gone_when_it_is_closed() -> None:
    with Worker(PATIENCE) as worker:
        pid = worker.pid

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux tells of the end of other people's children")
def test_the_process_ends_with_the_test_run_that_started_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ABANDONED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        process = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        ended, _, _ = select.select([process], [], [], PATIENCE)
        os.close(process)

    assert ended


def test_a_bug_in_the_process_is_shown_with_its_traceback() -> None:
    with Worker(PATIENCE) as worker:
        worker.say("run", {"seed": 0})

        with pytest.raises(WorkflowEnvironmentError, match=r"ended with status 1; it said:[^$]*KeyError: 'workflow'"):
            worker.hear()
