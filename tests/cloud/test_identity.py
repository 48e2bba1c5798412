import json
import re
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cloud import identity

API: dict[str, Any] = json.loads(Path(__file__).with_name("openapi.json").read_text("utf-8"))
EVENT: dict[str, Any] = API["components"]["schemas"]["Event"]["properties"]


@pytest.mark.parametrize(
    ("check", "schema", "good", "bad"),
    [
        ("device_id_problem", EVENT["deviceId"], ["abc", "a:b._-9", "x" * 64], ["ab", "x" * 65, "a b c", "grün", "abc\n", ""]),
        ("device_name_problem", EVENT["deviceName"], ["Küche", "x" * 100, "a / b"], ["", "x" * 101, "a\nb", "abc\n", "a\rb", "a\u2028b"]),
        ("customer_id_problem", EVENT["customerId"], ["656730be2bc9719e6e5ed51d"], ["656730be", "x" * 25, "656730be2bc9719e6e5ed51-"]),
        ("building_id_problem", EVENT["customerBuildingId"], ["99900000C048ADA6", "x" * 100, "a:b"], ["", "x" * 101, "a b"]),
        ("client_id_problem", {"pattern": "^[a-zA-Z0-9]{1,100}$"}, ["6cUo"], ["", "6c-Uo", "x" * 101]),
    ],
)
def test_names_are_held_to_the_schema_s_patterns(check: str, schema: dict[str, str], good: list[str], bad: list[str]) -> None:
    problem = getattr(identity, check)
    assert [problem(text) for text in good] == [None] * len(good)
    assert all(re.fullmatch(schema["pattern"], text) for text in good)
    assert all(repr(text) in problem(text) for text in bad)
