"""Says in which versions the environment that runs this differs from the lock."""

import importlib.metadata
import re
from pathlib import Path

LOCK = Path(__file__).resolve().with_name("dev.txt")


def main() -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE))
    found = {normal(one.name): one.version for one in importlib.metadata.distributions()}
    different = [name for name in sorted(locked) if name in found and found[name] != locked[name]]
    print(f"{len(different)} of {len(locked)} packages differ from the lock" + (":" if different else "."))
    for name in different:
        print(f"  {name} {found[name]}, locked {locked[name]}")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
