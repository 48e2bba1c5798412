"""MQTT topics: what a filter matches, what its wildcards stand for, and what is wrong with one. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MAX_BYTES = 65535


def topic_mistake(topic: str) -> str:
    """What is wrong with a topic or filter and what to write instead; empty when nothing is."""
    if not topic:
        return "an empty topic: write the device's topic, such as go-eCharger/222819"
    if "\0" in topic or len(topic.encode("utf-8", "replace")) > _MAX_BYTES:
        return "no topic: it has a NUL or is longer than 65535 bytes"
    levels = topic.split("/")
    if any("+" in level and level != "+" for level in levels):
        return f"{topic!r}: a + stands for a whole level between slashes, not for a part of one"
    if any("#" in level and (level != "#" or number != len(levels) - 1) for number, level in enumerate(levels)):
        return f"{topic!r}: a # stands alone after the last slash"
    return ""


@dataclass(frozen=True, slots=True)
class TopicFilter:
    """A filter to subscribe to. `names` says what each of its `+` is called, in order."""

    text: str
    names: tuple[str, ...]
    pattern: re.Pattern[str]

    def captures(self, topic: str) -> dict[str, str] | None:
        """What the wildcards stand for in this topic; None when the filter does not match it."""
        match = self.pattern.fullmatch(topic)
        return dict(zip(self.names, match.groups(), strict=True)) if match else None


def topic_filter(template: str, parameters: dict[str, str]) -> TopicFilter:
    """`N/{portal}/grid/+/Ac/Power` with its parameters filled in. A parameter may itself be, or hold, a `+`.

    Equal parameters share a name, so that all topics of a device are held to one meaning of `+`.
    """
    text, names = "", []
    for number, part in enumerate(re.split(r"\{(\w+)\}", template)):
        value = parameters[part] if number % 2 else part
        source = part if number % 2 else template
        names += [f"{source}/{count}" for count in range(value.count("+"))]
        text += value
    return TopicFilter(text, tuple(names), re.compile(_expression(text)))


def _expression(text: str) -> str:
    """The filter as a regular expression; `a/#` matches `a` too."""
    levels = [r"([^/]*)" if level == "+" else re.escape(level) for level in text.split("/")]
    if levels[-1] == re.escape("#"):
        return "/".join(levels[:-1]) + r"(?:/.*)?" if len(levels) > 1 else ".*"
    return "/".join(levels)
