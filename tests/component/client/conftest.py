from collections.abc import AsyncIterator

import pytest

from forgemesh.client import Client
from tests.component.client.script import Script, served


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def mesh(script: Script) -> AsyncIterator[Client]:
    async with served(script) as address, Client.connect(address) as client:
        yield client
