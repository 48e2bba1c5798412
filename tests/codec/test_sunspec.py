"""SunSpec: chains however they end, points wherever they are, and what each type calls 'not implemented'."""

from __future__ import annotations

import pytest

from edge_agent.codec.sunspec import Model, Place, known_point, locate_point, next_model

CHAIN = (Model(1, 40002, 65), Model(103, 40069, 50), Model(160, 40121, 48), Model(203, 40171, 105), Model(203, 40278, 105))


def place(ids: list[int], point: str, module: int | None = None) -> Place:
    found = locate_point(CHAIN, ids, point, module)
    assert isinstance(found, Place), found
    return found


def test_point_lies_behind_its_model_with_its_exponent_and_sentinel() -> None:
    assert place([103], "W") == Place((40083,), "s16", 40084, frozenset({"-32768"}))
    assert place([103], "WH") == Place((40093, 40094), "u32", 40095, frozenset({"0"}))
    assert place([1], "SN") == Place(tuple(range(40052, 40068)), "string(16)", None, frozenset())
    assert place([103], "St").sentinels == {"65535"}


def test_first_model_that_the_device_has_is_taken() -> None:
    assert place([111, 103, 101], "W") == place([103], "W")
    assert place([203], "TotWhImp").addresses == (40217, 40218)


def test_missing_model_and_point_are_said_in_words() -> None:
    assert locate_point(CHAIN, [802, 713], "SoC") == "the device has no SunSpec model 802, 713"
    assert locate_point(CHAIN, [103], "Nothing") == "SunSpec model 103 has no point Nothing"


def test_module_of_a_repeating_block() -> None:
    first, second = place([160], "DCW", 1), place([160], "DCW", 2)
    assert first.addresses == (40121 + 10 + 11,)
    assert second.addresses == (40121 + 30 + 11,)
    assert first.exponent == second.exponent == 40125
    assert locate_point(CHAIN, [160], "DCW", 3) == "SunSpec model 160 of this device ends before DCW of module 3"


@pytest.mark.parametrize(("same", "as_"), [(101, 103), (102, 103), (201, 203), (202, 203), (204, 203)])
def test_models_of_one_layout(same: int, as_: int) -> None:
    found = locate_point((Model(same, 0, 105),), [same], "W")
    assert found == locate_point((Model(as_, 0, 105),), [as_], "W")


def test_float_models_have_neither_exponent_nor_sentinel() -> None:
    for id_ in (111, 112, 113, 211, 212, 213, 214):
        found = locate_point((Model(id_, 100, 124),), [id_], "W")
        assert isinstance(found, Place)
        assert (found.encoding, found.exponent, found.sentinels) == ("f32", None, frozenset())


@pytest.mark.parametrize(
    ("type_point", "sentinel"),
    [
        ((701, "TotWhInj"), "18446744073709551615"),
        ((701, "Hz"), "4294967295"),
        ((122, "ActWh"), "0"),
        ((704, "WSet"), "-2147483648"),
        ((124, "ChaSt"), "65535"),
    ],
)
def test_each_type_has_its_own_not_implemented(type_point: tuple[int, str], sentinel: str) -> None:
    found = locate_point((Model(type_point[0], 0, 200),), [type_point[0]], type_point[1])
    assert isinstance(found, Place)
    assert found.sentinels == {sentinel}


@pytest.mark.parametrize(("id_", "length"), [(0xFFFF, 0), (0, 0), (0, 77), (0xFFFF, 5), (0x8000, 0xFFFF), (103, 0)])
def test_chain_ends_at_a_marker_or_at_nonsense(id_: int, length: int) -> None:
    assert next_model(40200, id_, length) is None


def test_chain_goes_on_with_a_model_it_does_not_know() -> None:
    assert next_model(40200, 64_001, 30) == Model(64_001, 40200, 30)
    assert locate_point((Model(64_001, 40200, 30),), [64_001], "W") == "SunSpec model 64001 has no point W"


def test_known_points() -> None:
    assert known_point(102, "W")
    assert known_point(160, "DCW", module=True)
    assert not known_point(160, "DCW")
    assert not known_point(999, "W")
