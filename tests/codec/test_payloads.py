"""Payloads and paths: what is read, and what is never taken for a value."""

from __future__ import annotations

import json
import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.codec.payloads import MAX_PAYLOAD_BYTES, MISSING, Combine, Path, Picked, compile_path, find, parse_payload, pick, split_payload
from edge_agent.codec.values import Raw, ValueRule, to_reading


def picked(body: str | bytes, *paths: str) -> Picked | None:
    return pick(tuple(compile_path(path) for path in paths or ("$",)), parse_payload(body.encode() if isinstance(body, str) else body))


def raw(body: str | bytes, *paths: str) -> Raw:
    found = picked(body, *paths)
    assert found is not None
    assert not found.problem
    return found.raw


def problem(body: str | bytes, *paths: str) -> str:
    found = picked(body, *paths)
    assert found is not None
    assert found.raw is None
    return found.problem


@pytest.mark.parametrize(
    ("body", "path", "value"),
    [
        ("12.3", "$", 12.3),
        (" -842 \n", "$", -842),
        ("ON", "$", "ON"),
        ("true", "$", True),
        ('"222819"', "$", "222819"),
        ('"2026-03-04T10:15:07.120.431"', "$", "2026-03-04T10:15:07.120.431"),
        ("-1512.400000", "$", -1512.4),
        ("1e-05", "$", 1e-05),
        ("not connected", "$", "not connected"),
        ("0x1F", "$", "0x1F"),
        ("1.2.3", "$", "1.2.3"),
        ("[1,2,3]", "$[2]", 3),
        ("[1,2,3]", "$[-1]", 3),
        ('{"a":{"b":5}}', "$.a.b", 5),
        ('{"value":{"value":1.3}}', "$.value.value", 1.3),
        ('{"params":{"em:0":{"total_act_power":1.7}}}', '$.params["em:0"].total_act_power', 1.7),
        ('{"params":{"em:0":{"total_act_power":1.7}}}', "$.params['em:0'].total_act_power", 1.7),
        ('{"DS18B20-1":{"Temperature":21.5}}', "$.DS18B20-1.Temperature", 21.5),
        ('{"electricity_delivered_1":"10412.118"}', "$.electricity_delivered_1", "10412.118"),
        ('{"packs":[{"sn":"A1","soc":40},{"sn":"B2","soc":60}]}', "$.packs[?sn=='B2'].soc", 60),
        ('{"packs":[{"sn":7,"soc":40}]}', '$.packs[?sn=="7"].soc', 40),
        ('{"%Soc":55,"$state":"ready"}', "$.%Soc", 55),
        ('{"a.b":1}', '$["a.b"]', 1),
    ],
)
def test_a_path_finds_its_value(body: str, path: str, value: Raw) -> None:
    assert raw(body, path) == value


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ('{"a":1}', "$.b"),
        ('{"a":[1]}', "$.a[1]"),
        ('{"a":[1]}', "$.a[-2]"),
        ('{"a":{"0":1}}', "$.a[0]"),
        ('{"a":[1]}', "$.a.b"),
        ('{"packs":[{"sn":"A1"}]}', "$.packs[?sn=='B2'].soc"),
        ('{"packs":{"sn":"A1"}}', "$.packs[?sn=='A1'].soc"),
        ('{"packs":["A1"]}', "$.packs[?sn=='A1'].soc"),
        ('{"packs":[{"sn":{}}]}', "$.packs[?sn=='A1'].soc"),
        ("[1,2]", "$[*]"),
    ],
)
def test_a_message_without_the_place_leaves_the_value_unchanged(body: str, path: str) -> None:
    assert picked(body, path) is None


@pytest.mark.parametrize("body", ["", "  ", "null", '{"a":null}', "\0"])
def test_null_and_nothing_mean_not_available(body: str) -> None:
    assert picked(body, "$.a" if "{" in body else "$") == Picked(None)


def test_null_above_the_place_means_not_available_too() -> None:
    assert picked('{"value":null}', "$.value.value") == Picked(None)
    assert picked("", "$.value") == Picked(None)


def test_the_first_path_that_is_there_counts() -> None:
    assert raw('{"b":2,"c":3}', "$.a", "$.b", "$.c") == 2
    assert raw("12.5", "$.value", "$") == 12.5
    assert raw('{"value":12.5}', "$", "$.value") == 12.5
    assert picked('{"other":1}', "$.value", "$") is None


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        ("ON", "$.ENERGY.Power", "is no JSON: 'ON'"),
        ('{"ENERGY":{"Power":12', "$.ENERGY.Power", "is no JSON"),
        ("<html>", "$.a", "is no JSON: '<html>'"),
        ("5", "$.a", "not the JSON object expected: '5'"),
        ("[1,2,3]", "$", "an array of 3 where one value belongs"),
        ('{"a":{"b":1}}', "$.a", "an object where one value belongs"),
        (b"\xff\xfe\x00", "$", "no UTF-8"),
        (b"1" * (MAX_PAYLOAD_BYTES + 1), "$", "longer than"),
        ("9" * 400, "$", "too large"),
    ],
)
def test_what_cannot_be_read_says_why(body: str | bytes, path: str, words: str) -> None:
    assert words in problem(body, path)


def test_nesting_without_end_is_only_text() -> None:
    assert "is no JSON" in problem("[" * 200_000, "$.a")


def test_a_payload_that_was_cut_away_is_told_with_its_length() -> None:
    assert "300000 bytes" in parse_payload(b"", 300_000).problem


@pytest.mark.parametrize(("body", "total", "mean"), [("[120,0,845]", 965, 965 / 3), ("[230]", 230, 230), ("412", 412, 412), ("[1.5,2.5]", 4, 2)])
def test_a_number_or_an_array_of_phases_becomes_one_number(body: str, total: float, mean: float) -> None:
    payload = parse_payload(body.encode())
    assert pick(((),), payload, "sum") == Picked(total)
    assert pick(((),), payload, "mean") == Picked(mean)


@pytest.mark.parametrize("body", ["[120,null,845]", "[]"])
def test_a_missing_phase_makes_the_sum_unknown_not_smaller(body: str) -> None:
    assert pick(((),), parse_payload(body.encode()), "sum") == Picked(None)


@pytest.mark.parametrize("body", ['[120,"x",845]', "[true]", "[[1]]", "[1" + "0" * 400 + "]"])
def test_an_array_of_more_than_numbers_is_no_sum(body: str) -> None:
    found = pick(((),), parse_payload(body.encode()), "sum")
    assert found is not None
    assert "more than numbers" in found.problem


def test_text_is_split_where_the_profile_says_so() -> None:
    payload = split_payload(parse_payload(b"21.5;ok; -"), ";")
    assert [pick((compile_path(f"$[{number}]"),), payload) for number in range(3)] == [Picked("21.5"), Picked("ok"), Picked("-")]
    assert pick((compile_path("$[3]"),), payload) is None
    assert pick((compile_path("$[0]"),), split_payload(parse_payload(b"21.5"), ";")) == Picked(21.5)


def test_a_position_told_elsewhere_is_taken() -> None:
    payload = parse_payload(b"[231.2,10911.4]")
    assert pick((compile_path("$[*]"),), payload, position=1) == Picked(10911.4)
    assert pick((compile_path("$[*]"),), payload, position=2) is None


@pytest.mark.parametrize("text", ["", "a.b", "$a", "$.", "$..a", "$[", "$[x]", "$[1.5]", '$["a]', "$[?sn=A1]", "$.a b]", "$.a[?==''].b"])
def test_what_is_no_path_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(ValueError, match="is no path") as refusal:
        compile_path(text)
    assert repr(text) in str(refusal.value)


def test_not_a_number_is_not_available() -> None:
    for body in ("NaN", '{"a":NaN}', "nan"):
        value = raw(body, "$.a" if "{" in body else "$")
        assert to_reading(ValueRule("W"), value, 0.0).value is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_characters='"[]'), max_size=6), inner, max_size=4),
    max_leaves=20,
)
paths = st.sampled_from(["$", "$.a", "$.a.b", "$[0]", "$.a[?b=='c'].d", '$.params["em:0"].x', "$[*]", "$[-1].a"]).map(compile_path)


bodies = st.binary(max_size=200) | st.text(max_size=50).map(str.encode) | json_values.map(lambda value: json.dumps(value).encode())


@given(bodies, st.lists(paths, min_size=1))
def test_no_payload_raises(body: bytes, some: list[Path]) -> None:
    payload = parse_payload(body)
    for variant in (payload, split_payload(payload, ";")):
        for combine in get_args(Combine):
            found = pick(tuple(some), variant, combine, 0)
            if found is not None and not found.problem:
                reading = to_reading(ValueRule("W"), found.raw, 0.0)
                assert reading.value is None or math.isfinite(float(reading.value))


@given(json_values)
def test_every_place_of_a_document_is_found_by_its_path(document: object) -> None:
    for path, value in places(document):
        assert find(compile_path(path), document) == value or value is None


@given(json_values)
def test_no_other_place_is_found(document: object) -> None:
    missing = find(compile_path('$["a key that is too long"]'), document)
    assert missing is MISSING or document is None


def places(value: object, path: str = "$") -> list[tuple[str, object]]:
    found = [(path, value)]
    if isinstance(value, dict):
        found += [place for key, inner in value.items() for place in places(inner, f'{path}["{key}"]')]
    if isinstance(value, list):
        found += [place for number, inner in enumerate(value) for place in places(inner, f"{path}[{number}]")]
    return found
