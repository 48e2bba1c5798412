"""The figures, as Prometheus's own tool reads them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from edge_agent.web.metrics import metrics_text
from tests.status.examples import device, healthy
from tests.web.serving import PASSWORD, House, client, serving


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        reason = "promtool is not installed (apt-get install prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def test_prometheus_finds_nothing_to_object_to(promtool: str) -> None:
    status = healthy()
    status["devices"].append(device('with "quotes" \\ and\nlines', "silent", "x: no answer"))
    checked = subprocess.run([promtool, "check", "metrics"], input=metrics_text(status, False), capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_figures_say_what_the_status_says() -> None:
    lines = metrics_text(healthy(), False).splitlines()
    for line in (
        'edge_agent_build_info{version="1.2.3"} 1',
        'edge_agent_health{state="healthy"} 1',
        'edge_agent_device_up{device="grid-meter"} 1',
        'edge_agent_device_reading_age_seconds{device="grid-meter"} 4',
        'edge_agent_device_polls_total{device="grid-meter"} 10',
        'edge_agent_device_poll_duration_seconds_count{device="grid-meter"} 10',
        'edge_agent_power_watts{part="grid"} -1234.5',
        'edge_agent_energy_intervals_total{result="absent"} 2',
        'edge_agent_events_total{result="accepted_live"} 12',
        "edge_agent_upload_duration_seconds_sum 1.5",
        "edge_agent_clock_trusted 1",
    ):
        assert line in lines


def test_what_is_not_known_is_left_out() -> None:
    status = healthy()
    status["flow"][0]["power_w"] = None
    text = metrics_text(status, False)
    assert "power_watts" not in text
    assert "oldest_age" not in text


def test_openmetrics_is_read_by_the_strict_parser() -> None:
    status = healthy()
    status["devices"].append(device('with "quotes" \\ and\nlines', "silent", "x: no answer"))
    text = metrics_text(status, True)
    assert text.endswith("\n# EOF\n")
    families = {family.name: family for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
    polls = families["edge_agent_device_polls"]
    assert polls.type == "counter"
    assert [sample.value for sample in polls.samples] == [10, 10]
    assert polls.samples[1].labels == {"device": 'with "quotes" \\ and\nlines'}
    assert families["edge_agent_device_poll_duration_seconds"].type == "summary"


async def test_prometheus_gets_the_format_that_it_asks_for_and_logs_in_by_header() -> None:
    async with serving(House(), PASSWORD) as port, client(port) as http:
        refused = await http.get("/metrics", auth=("prometheus", "wrong password"))
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        plain = await http.get("/metrics", auth=("prometheus", PASSWORD))
        assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        openmetrics = await http.get("/metrics", auth=("prometheus", PASSWORD), headers={"accept": "application/openmetrics-text; version=1.0.0"})
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
        assert openmetrics.text.endswith("# EOF\n")
