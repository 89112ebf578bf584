from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.database import Database, open_database
from tests.component.chassis.sacks import FIRST


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "mill.db", [FIRST]) as opened:
        yield opened
