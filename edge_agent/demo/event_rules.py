"""What the API's schema asks of an event."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

Json = dict[str, Any]
Check = Callable[[Any], str | None]


@cache
def event_checks() -> tuple[dict[str, Check], frozenset[str]]:
    """What the schema asks of each property of an event (gives the complaint or None), and the required ones."""
    schema = json.loads(files("edge_agent.demo").joinpath("openapi.json").read_text())["components"]["schemas"]["Event"]
    return {name: _check(rule) for name, rule in schema["properties"].items()}, frozenset(schema["required"])


def _check(rule: Json) -> Check:
    if rule["type"] == "string" and "enum" in rule:
        allowed = frozenset(rule["enum"])
        return lambda value: None if isinstance(value, str) and value in allowed else "is none of the enum"
    if rule["type"] == "string":
        fits = re.compile(rule["pattern"]).fullmatch
        return lambda value: None if isinstance(value, str) and fits(value) else f"does not match {rule['pattern']}"
    if rule["type"] == "integer":
        return lambda value: None if type(value) is int and -(2**63) <= value < 2**63 else "is no int64"
    return lambda value: None if type(value) in (int, float) and math.isfinite(value) else "is no number"


def complaint(event: object) -> str | None:
    """What is wrong with an event by the schema, or None."""
    if not isinstance(event, dict):
        return "is no object"
    checks, required = event_checks()
    for name, value in event.items():
        if name not in checks:
            return f"{name}: unknown property"
        if wrong := checks[name](value):
            return f"{name}: {wrong}"
    missing = required - event.keys()
    return f"{sorted(missing)[0]}: is missing" if missing else None
