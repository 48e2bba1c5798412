"""The strict cloud on loopback, for each test its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_agent.demo.cloud import LocalCloud
from tests.conftest import free_port


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(port=free_port()) as cloud:
        yield cloud
