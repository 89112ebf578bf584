"""What surrounds a run of the suite, and what it makes of that before a test or its processes inherit it."""

import os
import re
import shutil
import signal
from pathlib import Path

SETTINGS = re.compile(
    r"FORGEMESH_(?:ADDRESS$|(?:REGISTRY|BALANCER|ORCHESTRATOR|SUPERVISOR|TRACES|HOST|PARENT|READY)_)|OTEL_|LC_"
)
WORDS = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM", "TZ", "LANGUAGE", "PYTHONDONTWRITEBYTECODE"}
MEMORY_DISK = Path("/dev/shm")
ENOUGH_MEMORY = 4 << 30


def leave_environment() -> None:
    """
    Leave behind what a terminal, a runner or a shell hands on.

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


def use_memory_disk() -> None:
    """
    The folders of tests are in memory, where there is enough of it, unless PYTEST_DEBUG_TEMPROOT says another place.

    No test can take the power away, so none proves more on a disk.
    """
    with_programs = MEMORY_DISK.is_dir() and not os.statvfs(MEMORY_DISK).f_flag & os.ST_NOEXEC
    if with_programs and os.access(MEMORY_DISK, os.W_OK) and shutil.disk_usage(MEMORY_DISK).free >= ENOUGH_MEMORY:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))
