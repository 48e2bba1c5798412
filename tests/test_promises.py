"""Each promise that the README makes about events has a test that would fail if it were broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())

KEPT_BY = {
    "on disk, with the counters it follows from, in one transaction, before it is sent": [
        "end_to_end/test_closing.py::test_the_closing_of_an_interval_is_one_write_transaction",
        "end_to_end/test_run.py::test_killed_agent_loses_no_interval_and_repeats_only_what_was_in_flight",
    ],
    "A power cut at any moment takes nothing that was stored.": [
        "outbox/test_power_cuts.py::test_what_was_told_to_be_stored_or_taken_out_is",
        "outbox/test_torn_writes.py::test_what_was_told_is_there_whatever_was_torn",
        "outbox/test_power_cuts.py::test_a_migration_is_done_or_not_begun",
        "end_to_end/test_disk.py::test_power_cuts_cost_the_agent_no_interval_and_double_little",
    ],
    "files together stay within `storage.max_size`": ["outbox/test_space.py::test_all_files_together_stay_within_the_size"],
    "refused events go first, then what is older than a day is merged by the hour": [
        "outbox/test_space.py::test_dead_letters_go_first_then_fineness_then_the_oldest_events",
        "outbox/test_space.py::test_old_backlog_is_merged_before_anything_is_dropped",
    ],
    "energies keep their exact sums, powers become averages, states stay": [
        "outbox/test_thinning.py::test_sums_are_exact_and_order_and_states_are_kept",
        "cloud/test_queue_rules.py::test_every_energy_is_summed_so_that_no_watt_hour_is_lost",
    ],
    "A full disk stops neither measuring nor delivering": [
        "outbox/test_space.py::test_a_full_disk_stops_neither_acknowledging_nor_storing",
        "end_to_end/test_disk.py::test_full_disk_stops_nothing_and_is_told_once",
    ],
    "A damaged queue is set aside under a dated name": [
        "outbox/test_damage.py::test_damage_at_random_places_takes_no_more_than_what_it_hit",
        "end_to_end/test_disk.py::test_damaged_queue_is_salvaged_and_the_agent_runs_on",
    ],
    "A queue of any earlier version is delivered, also after an update was taken back": [
        "outbox/test_formats.py::test_a_queue_of_any_release_is_delivered_also_for_devices_that_are_gone",
        "outbox/test_formats.py::test_after_a_rollback_the_older_program_goes_on_with_the_file_and_after_the_update_this_one",
    ],
    "One building's events never go to another": [
        "outbox/test_opening.py::test_the_queue_of_another_building_is_set_aside_whole_and_named",
        "end_to_end/test_disk.py::test_queue_of_another_building_is_set_aside_and_nothing_of_it_is_sent",
    ],
    "at most one batch (`upload.batch_size`) can be there twice": [
        "uplink/test_settling.py::test_never_more_than_a_batch_is_with_the_cloud_and_still_in_the_queue",
        "uplink/test_kills.py::test_a_kill_while_uploading_loses_nothing_and_doubles_at_most_what_was_under_way",
    ],
    "it is resent byte by byte the same": [
        "uplink/test_uploader.py::test_a_batch_in_doubt_is_resent_with_the_same_bytes_after_a_restart_too",
        "outbox/test_doubt.py::test_what_may_have_been_sent_is_not_merged_after_a_restart",
    ],
    "`edge-agent queue` counts it, after a power cut as the most that it can be": [
        "uplink/test_outage.py::test_what_may_be_doubled_is_counted",
        "uplink/test_outage.py::test_what_is_under_way_in_a_power_cut_is_counted_at_the_next_start",
        "uplink/test_outage.py::test_the_count_of_doubles_costs_few_writes_and_outlives_a_power_cut",
    ],
    "After an outage the newest state goes first": [
        "uplink/test_outage.py::test_after_an_outage_the_newest_goes_at_once_and_the_backlog_at_its_moment",
        "uplink/test_outage.py::test_the_backlog_gets_its_share_while_live_events_never_end",
    ],
    "Ninety days' backlog takes no more memory than an hour's": [
        "uplink/test_ninety_days.py::test_ninety_days_leave_in_order_and_take_no_more_memory_than_an_hour",
    ],
    "No call lasts for ever": ["uplink/test_network.py::test_the_limits_are_those_that_are_stated"],
    "an hour that is wholly missing there for a day is sent again, once": [
        "uplink/test_verify.py::test_an_hour_that_is_wholly_missing_for_a_day_is_sent_once_more_as_history",
    ],
    "After a power cut run it again": [
        "end_to_end/test_backup_cuts.py::test_cut_while_a_house_moves_away_never_leaves_two_gateways_that_send",
        "end_to_end/test_backup_cuts.py::test_cut_while_a_backup_is_restored_leaves_the_old_gateway_or_the_new_one_or_one_that_waits",
    ],
}


@pytest.mark.parametrize("promise", KEPT_BY)
def test_the_promise_stands_in_the_readme_and_its_tests_are_there(promise: str) -> None:
    assert promise in README
    for test in KEPT_BY[promise]:
        file, _, name = test.partition("::")
        assert re.search(rf"def {name}\(", (ROOT / "tests" / file).read_text(encoding="utf-8")), test
