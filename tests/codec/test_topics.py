"""Topic filters: what they match, what their wildcards stand for, and which are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from edge_agent.codec.topics import topic_filter, topic_mistake


@pytest.mark.parametrize(
    ("text", "topic", "matches"),
    [
        ("go-eCharger/222819/nrg", "go-eCharger/222819/nrg", True),
        ("go-eCharger/222819/nrg", "/go-eCharger/222819/nrg", False),
        ("/go-eCharger/+/nrg", "/go-eCharger/222819/nrg", True),
        ("go-eCharger/+/nrg", "go-eCharger/1/2/nrg", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("a/+", "a/", True),
        ("openWB/housebattery/%Soc", "openWB/housebattery/%Soc", True),
        ("homie/5/pump/$state", "homie/5/pump/$state", True),
        ("p/status/switch:0", "p/status/switch:0", True),
        ("p/status/em.0", "p/status/emx0", False),
    ],
)
def test_a_filter_matches_its_topics(text: str, topic: str, matches: bool) -> None:
    assert (topic_filter(text, {}).captures(topic) is not None) is matches


levels = st.text(st.characters(codec="utf-8", exclude_characters="+#/$\0\n"), max_size=4)


@given(st.lists(levels | st.just("+"), min_size=1, max_size=5), st.booleans(), st.lists(levels, min_size=1, max_size=5))
def test_matching_agrees_with_the_mqtt_library(text: list[str], open_end: bool, topic: list[str]) -> None:
    one = "/".join([*text, *(["#"] if open_end else [])])
    assert (topic_filter(one, {}).captures("/".join(topic)) is not None) is topic_matches_sub(one, "/".join(topic))


def test_wildcards_are_called_by_the_parameter_that_holds_them() -> None:
    parameters = {"portal": "c0619ab1f00d", "instance": "+"}
    power = topic_filter("N/{portal}/grid/{instance}/Ac/Power", parameters)
    energy = topic_filter("N/{portal}/grid/{instance}/Ac/Energy/Forward", parameters)
    assert power.text == "N/c0619ab1f00d/grid/+/Ac/Power"
    assert power.captures("N/c0619ab1f00d/grid/30/Ac/Power") == {"instance/0": "30"}
    assert energy.captures("N/c0619ab1f00d/grid/30/Ac/Energy/Forward") == {"instance/0": "30"}


@pytest.mark.parametrize("topic", ["", "a/b+/c", "a/#/b", "a#", "a\0b", "x" * 65536])
def test_what_is_no_topic_is_told(topic: str) -> None:
    assert topic_mistake(topic)


@pytest.mark.parametrize("topic", ["a", "/a/b", "a/+/b", "+/+", "#", "a/#", "zigbee2mqtt/bath radiator", "a/$state"])
def test_what_is_a_topic_passes(topic: str) -> None:
    assert topic_mistake(topic) == ""
