"""The strict cloud on loopback, for each test its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_agent.demo.cloud import LocalCloud


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud() as cloud:
        yield cloud
