"""What holds for all tests, whatever surrounds the one who runs them."""

import os
import re
import signal

from hypothesis import settings

# how long an example takes says something about the machine, and nothing about the code
settings.register_profile("everywhere", deadline=None)
settings.load_profile("everywhere")

SETTINGS = re.compile(
    r"FORGEMESH_(?:ADDRESS$|(?:REGISTRY|BALANCER|ORCHESTRATOR|SUPERVISOR|TRACES|HOST|PARENT|READY)_)|OTEL_|LC_"
)
WORDS = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM", "TZ", "LANGUAGE", "PYTHONDONTWRITEBYTECODE"}


def pytest_configure() -> None:
    """
    Leave behind what a terminal, a runner or a shell hands on, before a test or one of its processes inherits it.

    What a shell without job control starts in the background ignores SIGINT, and so does everything that it starts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
    for name in [name for name in os.environ if SETTINGS.match(name) or name in WORDS]:
        del os.environ[name]
    os.environ["LANG"] = "C.UTF-8"
