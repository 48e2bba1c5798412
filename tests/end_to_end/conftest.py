"""Fixtures of the end-to-end tests: a cloud, a gateway's folder, a meter that counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from edge_agent.demo.cloud import LocalCloud
from tests.conftest import free_port
from tests.end_to_end.gateway import SDM630, Gateway, count_up
from tests.simulators import RegisterServer, serving


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(port=free_port()) as cloud:
        yield cloud


@pytest.fixture
def gateway(tmp_path: Path, cloud: LocalCloud) -> Gateway:
    return Gateway(tmp_path, cloud)


@pytest_asyncio.fixture
async def meter_server() -> AsyncIterator[RegisterServer]:
    """An SDM630 that imports 7200 W, so 4 Wh in an interval of two seconds."""
    async with serving({1: SDM630}) as server:
        counting = asyncio.create_task(count_up(server))
        yield server
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
