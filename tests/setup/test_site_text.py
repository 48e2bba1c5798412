"""The site file keeps what people wrote in it."""

from __future__ import annotations

from edge_agent.profiles.document import parse_document
from edge_agent.setup.site_text import Drafted, Sections, with_answers

METER = Drafted({"id": "meter", "name": "Main meter", "profile": "eastron-sdm630", "role": "grid"}, "check its role")


def test_new_file_holds_answers_and_devices_with_their_remarks() -> None:
    text = with_answers(None, {"moost": {"client_id": "6cUo", "base_url": None}, "building": {"zip": "01067", "country_code": "NO"}}, [METER])
    data = parse_document(text, "agent.yaml").data
    assert data["moost"] == {"client_id": "6cUo"}
    assert data["building"] == {"zip": "01067", "country_code": "NO"}
    assert data["devices"] == [dict(METER.entry)]
    assert text.index("# check its role") < text.index("- id: meter")


def test_comments_order_and_quotes_of_an_edited_file_stay() -> None:
    before = """\
# our house
moost: {customer_id: 656730be2bc9719e6e5ed51d, building_id: B1, client_id: old}  # the account
devices:
  # in the cellar
  - id: pv
    name: "South roof"   # quoted
    unit: 0x10
"""
    after = with_answers(before, {"moost": {"client_id": "new"}, "time_zone": "Europe/Vienna"}, [METER])
    kept = [line for line in before.splitlines() if "client_id" not in line]
    assert [line for line in after.splitlines() if line in kept] == kept
    data = parse_document(after, "agent.yaml").data
    assert data["moost"]["client_id"] == "new"
    assert [device["id"] for device in data["devices"]] == ["pv", "meter"]


def test_unchanged_answers_change_no_byte_of_a_file_of_ours() -> None:
    sections: Sections = {"moost": {"client_id": "6cUo", "building_id": "B1"}, "time_zone": "Europe/Vienna"}
    text = with_answers(None, sections, [METER])
    assert with_answers(text, sections, []) == text


def test_file_of_comments_alone_keeps_them() -> None:
    text = with_answers("# our house\n# storage: {max_size: 1GB}\n", {"moost": {"client_id": "6cUo"}}, [METER])
    assert text.startswith("# our house\n# storage: {max_size: 1GB}\n")
    assert parse_document(text, "agent.yaml").data == {"moost": {"client_id": "6cUo"}, "devices": [dict(METER.entry)]}


def test_uncertain_device_is_a_comment_that_can_be_taken_over() -> None:
    text = with_answers(None, {}, [METER, Drafted({"id": "two", "profile": "a|b"}, "a and b fit: choose one", certain=False)])
    assert [device["id"] for device in parse_document(text, "agent.yaml").data["devices"]] == ["meter"]
    taken = "\n".join(line.removeprefix("# ") if line.startswith("#   -") or line.startswith("#     ") else line for line in text.splitlines())
    assert [device["id"] for device in parse_document(taken, "agent.yaml").data["devices"]] == ["meter", "two"]
