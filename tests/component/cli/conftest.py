from collections.abc import AsyncIterator

import pytest

from tests.component.cli.typed import Typed, typing
from tests.component.client.script import RUNNING, Script


@pytest.fixture
def script() -> Script:
    return Script(status=RUNNING)


@pytest.fixture
async def typed(script: Script) -> AsyncIterator[Typed]:
    async with typing(script) as typed:
        yield typed
