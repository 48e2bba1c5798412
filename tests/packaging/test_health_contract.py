"""What the agent writes of its health is what the updater's shell reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edge_agent.health import SETTLE_S, Facts, judge, to_file

COMMON = Path(__file__).parents[2] / "packaging" / "updater" / "lib" / "common"
START_S = 5000.0
FACTS = Facts(START_S, START_S + SETTLE_S, read_devices=0, known_devices=12, uploaded=True, silent_devices={"a": 'a: says "works": [1]'})


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("health_field version", "1.2.3"),
        ("health_field state", "degraded"),
        ("health_list works", "queue upload"),
        ("health_list fails", "devices"),
        ("health_number devices_read", "0"),
        ("health_number devices_known", "12"),
    ],
)
def test_updater_reads_what_the_agent_writes(command: str, words: str, tmp_path: Path) -> None:
    health = tmp_path / "health.json"
    health.write_text(to_file(judge(FACTS, {}), "1.2.3", FACTS))
    read = subprocess.run(["sh", "-c", f". {COMMON}; HEALTH={health}; {command}"], text=True, capture_output=True, check=False)
    assert read.stdout.strip() == words
