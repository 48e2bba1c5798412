"""Polls, the clock and metering together: what was read while nobody knew the time is cut at the true boundaries."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.metering.metering import Metering
from edge_agent.model.measurements import EnergyInterval, MeterPoint, Quality, Quantity, Reading, Role, Sample
from edge_agent.timekeeping.dating import CLOCK, HELD, Dating
from edge_agent.timekeeping.trust import NOBODY, Evidence
from tests.conftest import HandClock

SET, UNSET = Evidence(True, "systemd-timesyncd"), Evidence(False, "systemd-timesyncd")
T0 = 1_800_000_000  # on a quarter-hour
POINT = MeterPoint("grid", "Grid", "grid", Role.GRID, "", frozenset({Quantity.IMPORT_WH}))
WATTS = 3600.0


class Gateway:
    """A gateway that does with polls what a shift does, beside a meter that counts on whatever the clock says."""

    def __init__(self, offset_s: float = 0.0) -> None:
        self.true = float(T0)
        self.clock = HandClock(T0 + offset_s)
        self.stored: dict[str, Any] = {}
        self.found: list[EnergyInterval] = []
        self.start()

    def start(self) -> None:
        """The agent, with what was stored last."""
        self.metering = Metering([POINT], 900, 10, self.stored.get("metering"))
        newest_at = self.stored.get("metering", {"now": 0.0})["now"]
        self.dating = Dating(self.clock, self.stored, newest_at, 900, 10)

    def store(self) -> None:
        """Everything on disk."""
        stored = {key: json.loads(text) if text else None for key, text in self.dating.to_store().items()}
        self.stored |= {"metering": json.loads(json.dumps(self.metering.state())), **stored}

    def reboot(self, says: float) -> None:
        """A power cut; the clock says something else afterwards."""
        self.clock = HandClock(says)
        self.clock.boot_id, self.clock.elapsed = f"boot at {self.true}", 20.0
        self.start()

    def run(self, seconds: float, evidence: Evidence) -> None:
        """Polls for so long."""
        for _ in range(int(seconds / 10)):
            self.true += 10
            self.clock.forward(10)
            sample = Sample("grid", self.clock.now(), {}, monotonic=self.clock.monotonic(), boot_id=self.clock.boot_id)
            readings = {Quantity.IMPORT_WH: Reading(1000 + (self.true - T0) * WATTS / 3600, "", Quality.OK, sample.at)}
            if self.dating.watch():
                self._meter(readings, sample.at)
                continue
            self.dating.hold("grid", readings, sample)
            if trust := self.dating.judge(evidence):
                if trust.wrong_by_s:
                    self.metering.shift(trust.wrong_by_s)
                self.metering.begin(self.clock.now())
                for at, _, held in self.dating.release():
                    self._meter(held, at)

    def _meter(self, readings: dict[Quantity, Reading], at: float) -> None:
        found = [*self.metering.update("grid", readings, at), *self.metering.tick(at)]
        self.found += [one for one in found if isinstance(one, EnergyInterval)]

    def assert_whole(self, first_end: int) -> None:
        """Each interval from the first on, once, with its energy."""
        ends = [one.end - T0 for one in self.found if one.energy_wh is not None]
        last = int(self.true - T0) // 900 * 900
        assert ends == list(range(first_end, last + 900, 900))
        assert {one.energy_wh for one in self.found if one.energy_wh is not None} == {900.0}


@pytest.mark.parametrize("offset_s", [-10_000_000.0, -5000.0, 400.0, 3000.0])
def test_polls_from_before_the_clock_is_set_are_cut_at_the_true_boundaries(offset_s: float) -> None:
    gateway = Gateway(offset_s)
    gateway.run(4000, UNSET)
    assert not gateway.found
    gateway.clock.set_wall(gateway.true)
    gateway.run(2000, SET)
    gateway.assert_whole(1800)


def test_power_cuts_before_the_clock_is_set_lose_no_energy(caplog: pytest.LogCaptureFixture) -> None:
    gateway = Gateway()
    gateway.run(2000, SET)
    for behind in (5000, -5000, 100):
        gateway.store()
        gateway.reboot(gateway.true - behind)
        gateway.run(1300, UNSET)
    gateway.store()
    gateway.reboot(gateway.true)
    gateway.run(2000, SET)
    gateway.assert_whole(1800)
    assert "from before the machine restarted cannot be dated" in caplog.text


def test_restarts_of_the_agent_before_the_clock_is_set_lose_nothing() -> None:
    gateway = Gateway(-5000)
    for _ in range(5):
        gateway.run(700, UNSET)
        gateway.store()
        gateway.start()
    gateway.clock.set_wall(gateway.true)
    gateway.run(2000, SET)
    gateway.assert_whole(1800)
    gateway.store()
    assert not gateway.stored[HELD], "what was dated is not kept"


def test_clock_trusted_since_boot_goes_on_at_once_when_the_agent_restarts() -> None:
    gateway = Gateway()
    gateway.run(2000, SET)
    gateway.store()
    gateway.start()
    gateway.run(2000, UNSET)
    gateway.assert_whole(1800)


@given(steps=st.lists(st.sampled_from([-86_400.0, -7200.0, -30.0, 30.0, 1000.0, 86_400.0]), min_size=1, max_size=5), waits=st.integers(1, 5))
def test_steps_that_are_taken_back_move_nothing(steps: list[float], waits: int) -> None:
    gateway = Gateway()
    gateway.run(1000, SET)
    for step in steps:
        gateway.clock.set_wall(gateway.true + step)
        gateway.run(10 * waits, UNSET)
        gateway.clock.set_wall(gateway.true)
        gateway.run(950, UNSET)
    gateway.assert_whole(1800)


def test_pause_of_a_virtual_machine_is_bridged_like_an_outage() -> None:
    gateway = Gateway()
    gateway.run(1000, SET)
    gateway.true += 7200  # for the machine no time passes
    gateway.run(50, UNSET)
    gateway.clock.set_wall(gateway.true)
    gateway.run(40, UNSET)
    gateway.run(3000, SET)
    ends = [one.end - T0 for one in gateway.found if one.energy_wh is not None]
    assert ends == list(range(1800, int(gateway.true - T0) // 900 * 900 + 900, 900))
    assert max(one.energy_wh or 0 for one in gateway.found) < 1000, "no spike"


def test_clock_that_never_comes_is_held_shown_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gateway = Gateway(-5000)
    gateway.run(7 * 86_400, UNSET)
    state = gateway.dating.state()
    assert not gateway.found
    assert 0 < state.held <= 2000
    assert "systemd-timesyncd has not set it yet" in state.reason
    assert state.since_s == 7 * 86_400
    assert gateway.dating.missing()["clock"].startswith("the clock is not trusted: systemd-timesyncd has not set it yet")
    assert len(caplog.records) == 1


def test_two_programs_that_fight_for_the_clock_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    gateway = Gateway()
    gateway.run(100, NOBODY)
    for step in range(1, 200):
        gateway.clock.set_wall(gateway.true + step * 50)
        gateway.run(10, NOBODY)
    assert len([record for record in caplog.records if "was set by" in record.message]) == 1


def test_clock_state_is_stored_beside_what_it_dates() -> None:
    gateway = Gateway()
    gateway.run(100, SET)
    gateway.store()
    assert gateway.stored[CLOCK]["newest_at"] == gateway.true
