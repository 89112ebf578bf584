"""An orchestrator that kills itself with SIGKILL right after its n-th commit, as MORTAL_COMMITS says; 0: never."""

import os
import signal

from forgemesh.chassis.sqlite import database
from forgemesh.orchestrator.main import main

left = int(os.environ.get("MORTAL_COMMITS", "0"))
commit_batch = database._commit_batch


def commit_and_die(*given: object) -> None:
    global left  # noqa: PLW0603 - one process, one life
    commit_batch(*given)  # type: ignore[arg-type]
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    database._commit_batch = commit_and_die  # type: ignore[assignment]
    main()
