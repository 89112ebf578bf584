"""What runs when `forgemesh` is typed: its version at once, everything else by the command line."""

from __future__ import annotations

import sys

from forgemesh.cli.release import version_line


def main() -> int:
    """Run one command; the exit code. Who asks for the version alone does not wait for what commands need."""
    if sys.argv[1:] in (["version"], ["--version"]):
        print(version_line())
        return 0
    from forgemesh.cli.main import main as run_command  # noqa: PLC0415 - it takes a tenth of a second

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
