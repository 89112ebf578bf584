"""What surrounds a run of the suite makes no difference to it."""

import os
import signal
import subprocess
import sys

from tests.architecture.repository import ROOT

PROBE = """
import os, signal, sys

def test_nothing_is_inherited():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert os.umask(0o022) == 0o022
    assert not {"FORGEMESH_ADDRESS", "FORGEMESH_HOST_GRACE", "OTEL_SDK_DISABLED", "TZ", "NO_COLOR"} & set(os.environ)
    assert os.environ["FORGEMESH_KILLS"] == "7"
"""


def test_a_run_of_the_suite_inherits_neither_signals_nor_settings() -> None:
    hostile = {
        "FORGEMESH_ADDRESS": "nowhere:1",
        "FORGEMESH_HOST_GRACE": "x",
        "OTEL_SDK_DISABLED": "true",
        "TZ": "Pacific/Chatham",
        "NO_COLOR": "1",
        "FORGEMESH_KILLS": "7",
    }

    def ignorant() -> None:
        os.umask(0o077)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGUSR1))

    program = f"import tests.environment as suite; suite.leave_environment()\n{PROBE}\ntest_nothing_is_inherited()"
    command = [sys.executable, "-c", program]
    ran = subprocess.run(
        command, cwd=ROOT, env=os.environ | hostile, preexec_fn=ignorant, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
