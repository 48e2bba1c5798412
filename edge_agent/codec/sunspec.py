"""SunSpec: which registers a model's points are in, once the device's chain of models is known.

A device lists its models (id, length) from a base address on; offsets here count from a model's id register.
Only what an agent reads is in the table; every other model (703, the curves 705 to 712, a vendor's own) is
stepped over by its length. Pure: `drivers/sunspec.py` reads the chain.

Why a table of our own and not pysunspec2: that package brings its own blocking Modbus client and all models as
JSON, which it parses into an object per point when a device is scanned, while here values must come through the
one link that shares a line, be planned together with plain registers, and fit a small gateway. These rows
name the points that a profile can use, and the profile checker knows them.

Source: the SunSpec Alliance's model definitions (github sunspec/models, json/model_*.json).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_agent.codec.registers import words_of

MARK = (0x5375, 0x6E53)  # "SunS" at the base address
END_IDS = (0xFFFF, 0)  # the standard's end of the chain; Kostal ends with 0

# Raw values that mean "not implemented". An accumulator that is 0 has not counted yet, which is as good as none.
_SENTINELS = {
    "u16": "65535", "s16": "-32768", "u32": "4294967295", "s32": "-2147483648",
    "u64": "18446744073709551615", "s64": "-9223372036854775808", "acc32": "0", "acc64": "0",
}  # fmt: skip
_ENCODINGS = {"acc32": "u32", "acc64": "u64", "sf": "s16"}


@dataclass(frozen=True, slots=True)
class Model:
    """A model in a device's chain: where its id register is, and how many registers follow its length register."""

    id: int
    address: int
    length: int

    @property
    def end(self) -> int:
        """The address after its last register."""
        return self.address + 2 + self.length


@dataclass(frozen=True, slots=True)
class Place:
    """Where a point is: its words, their encoding, the register with its exponent, the values that mean none."""

    addresses: tuple[int, ...]
    encoding: str
    exponent: int | None
    sentinels: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Point:
    offset: int
    type: str
    scale_factor: str


@dataclass(frozen=True, slots=True)
class _Layout:
    points: dict[str, _Point]
    first_module: int = 0
    module_size: int = 0
    module_points: dict[str, _Point] = field(default_factory=dict)


def next_model(address: int, id_: int, length: int) -> Model | None:
    """The model whose header was read at an address; None where the chain ends, however oddly it does so.

    Devices end it with 0xFFFF, with 0, or one register off: then what looks like a length leaves the address space.
    """
    if id_ in END_IDS or length == 0 or address + 2 + length > 0xFFFF:
        return None
    return Model(id_, address, length)


def locate_point(chain: Sequence[Model], ids: Sequence[int], point: str, module: int | None = None, instance: int | None = None) -> Place | str:
    """The place of a point in the first of these models that the device has; in words, why it has no such point.

    Behind one gateway there may be several devices, each with a common block and models of its own: `instance`
    counts the models of one kind (integer or float, whatever their phases) along the chain, from 1.
    """
    listed = ", ".join(str(id_) for id_ in ids)
    model = next((one for id_ in ids for one in chain if one.id == id_), None)
    if model is None:
        return f"the device has no SunSpec model {listed}"
    if instance is not None:
        alike = [one for one in chain if one.id in ids and _layout_id(one.id) == _layout_id(model.id)]
        if not 1 <= instance <= len(alike):
            return f"the device has {len(alike)} of the SunSpec models {listed}, no number {instance}"
        model = alike[instance - 1]
    return _place(model, point, module)


def _layout_id(id_: int) -> int:
    return _SAME_LAYOUT.get(id_, id_)


def known_point(id_: int, point: str, module: bool = False) -> bool:
    """Whether the table has such a point, in the repeating block or outside it."""
    layout = _LAYOUTS.get(_SAME_LAYOUT.get(id_, id_))
    return layout is not None and point in (layout.module_points if module else layout.points)


def _place(model: Model, point: str, module: int | None) -> Place | str:
    layout = _LAYOUTS.get(_SAME_LAYOUT.get(model.id, model.id), _Layout({}))
    found, start = layout.points.get(point), model.address
    if module is not None:
        found = layout.module_points.get(point)
        start += layout.first_module + (module - 1) * layout.module_size
    if found is None:
        return f"SunSpec model {model.id} has no point {point}"
    encoding = _ENCODINGS.get(found.type, found.type)
    first = start + found.offset
    addresses = tuple(range(first, first + words_of(encoding)))
    exponent = model.address + layout.points[found.scale_factor].offset if found.scale_factor else None
    if max(addresses[-1], exponent or 0) >= model.end:
        return f"SunSpec model {model.id} of this device ends before {point}" + (f" of module {module}" if module else "")
    sentinel = _SENTINELS.get(found.type)
    return Place(addresses, encoding, exponent, frozenset({sentinel} if sentinel else ()))


def _layout(points: str, first_module: int = 0, module_size: int = 0, module_points: str = "") -> _Layout:
    return _Layout(_points(points), first_module, module_size, _points(module_points))


def _points(text: str) -> dict[str, _Point]:
    """`W 14 s16 W_SF, ...`: name, offset, type, scale factor."""
    rows = [row.split() for row in re.split(r",\s*", text.strip()) if row]
    return {row[0]: _Point(int(row[1]), row[2], row[3] if len(row) > 3 else "") for row in rows}


_SAME_LAYOUT = {102: 101, 103: 101, 112: 111, 113: 111, 201: 203, 202: 203, 204: 203, 211: 213, 212: 213, 214: 213}
# fmt: off
_LAYOUTS: dict[int, _Layout] = {
    # 1: Common
    1: _layout("""
        Mn 2 string(16), Md 18 string(16), Opt 34 string(8), Vr 42 string(8), SN 50 string(16), DA 66 u16
        """),
    # 101: Inverter, integer with scale factors
    101: _layout("""
        A 2 u16 A_SF, AphA 3 u16 A_SF, AphB 4 u16 A_SF, AphC 5 u16 A_SF, A_SF 6 sf, PhVphA 10 u16 V_SF, PhVphB 11 u16 V_SF,
        PhVphC 12 u16 V_SF, V_SF 13 sf, W 14 s16 W_SF, W_SF 15 sf, Hz 16 u16 Hz_SF, Hz_SF 17 sf, VA 18 s16 VA_SF, VA_SF 19 sf,
        VAr 20 s16 VAr_SF, VAr_SF 21 sf, PF 22 s16 PF_SF, PF_SF 23 sf, WH 24 acc32 WH_SF, WH_SF 26 sf, DCA 27 u16 DCA_SF,
        DCA_SF 28 sf, DCV 29 u16 DCV_SF, DCV_SF 30 sf, DCW 31 s16 DCW_SF, DCW_SF 32 sf, TmpCab 33 s16 Tmp_SF, Tmp_SF 37 sf,
        St 38 u16, StVnd 39 u16
        """),
    # 111: Inverter, float
    111: _layout("""
        A 2 f32, AphA 4 f32, AphB 6 f32, AphC 8 f32, PhVphA 16 f32, PhVphB 18 f32, PhVphC 20 f32, W 22 f32, Hz 24 f32,
        VA 26 f32, VAr 28 f32, PF 30 f32, WH 32 f32, DCA 34 f32, DCV 36 f32, DCW 38 f32, TmpCab 40 f32, St 48 u16,
        StVnd 49 u16
        """),
    # 120: Nameplate ratings
    120: _layout("""
        DERTyp 2 u16, WRtg 3 u16 WRtg_SF, WRtg_SF 4 sf, WHRtg 19 u16 WHRtg_SF, WHRtg_SF 20 sf, MaxChaRte 23 u16 MaxChaRte_SF,
        MaxChaRte_SF 24 sf, MaxDisChaRte 25 u16 MaxDisChaRte_SF, MaxDisChaRte_SF 26 sf
        """),
    # 121: Basic settings
    121: _layout("""
        WMax 2 u16 WMax_SF, WMax_SF 22 sf
        """),
    # 122: Extended measurements and status
    122: _layout("""
        PVConn 2 u16, StorConn 3 u16, ECPConn 4 u16, ActWh 5 acc64
        """),
    # 123: Immediate controls
    123: _layout("""
        Conn 4 u16, WMaxLimPct 5 u16 WMaxLimPct_SF, WMaxLimPct_RvrtTms 7 u16, WMaxLim_Ena 9 u16, WMaxLimPct_SF 23 sf
        """),
    # 124: Basic storage control
    124: _layout("""
        WChaMax 2 u16 WChaMax_SF, StorCtl_Mod 5 u16, MinRsvPct 7 u16 MinRsvPct_SF, ChaState 8 u16 ChaState_SF,
        StorAval 9 u16 StorAval_SF, InBatV 10 u16 InBatV_SF, ChaSt 11 u16, OutWRte 12 s16 InOutWRte_SF,
        InWRte 13 s16 InOutWRte_SF, InOutWRte_RvrtTms 15 u16, ChaGriSet 17 u16, WChaMax_SF 18 sf, MinRsvPct_SF 21 sf,
        ChaState_SF 22 sf, StorAval_SF 23 sf, InBatV_SF 24 sf, InOutWRte_SF 25 sf
        """),
    # 160: Multiple MPPT extension
    160: _layout("""
        DCA_SF 2 sf, DCV_SF 3 sf, DCW_SF 4 sf, DCWH_SF 5 sf, Evt 6 u32, N 8 u16, TmsPer 9 u16
        """, 10, 20, """
        ID 0 u16, IDStr 1 string(8), DCA 9 u16 DCA_SF, DCV 10 u16 DCV_SF, DCW 11 u16 DCW_SF, DCWH 12 acc32 DCWH_SF, Tmp 16 s16,
        DCSt 17 u16
        """),
    # 203: Meter, integer with scale factors
    203: _layout("""
        A 2 s16 A_SF, AphA 3 s16 A_SF, AphB 4 s16 A_SF, AphC 5 s16 A_SF, A_SF 6 sf, PhVphA 8 s16 V_SF, PhVphB 9 s16 V_SF,
        PhVphC 10 s16 V_SF, V_SF 15 sf, Hz 16 s16 Hz_SF, Hz_SF 17 sf, W 18 s16 W_SF, WphA 19 s16 W_SF, WphB 20 s16 W_SF,
        WphC 21 s16 W_SF, W_SF 22 sf, PF 33 s16 PF_SF, PF_SF 37 sf, TotWhExp 38 acc32 TotWh_SF, TotWhExpPhA 40 acc32 TotWh_SF,
        TotWhExpPhB 42 acc32 TotWh_SF, TotWhExpPhC 44 acc32 TotWh_SF, TotWhImp 46 acc32 TotWh_SF,
        TotWhImpPhA 48 acc32 TotWh_SF, TotWhImpPhB 50 acc32 TotWh_SF, TotWhImpPhC 52 acc32 TotWh_SF, TotWh_SF 54 sf
        """),
    # 213: Meter, float
    213: _layout("""
        A 2 f32, AphA 4 f32, AphB 6 f32, AphC 8 f32, PhVphA 12 f32, PhVphB 14 f32, PhVphC 16 f32, Hz 26 f32, W 28 f32,
        WphA 30 f32, WphB 32 f32, WphC 34 f32, PF 52 f32, TotWhExp 60 f32, TotWhExpPhA 62 f32, TotWhExpPhB 64 f32,
        TotWhExpPhC 66 f32, TotWhImp 68 f32, TotWhImpPhA 70 f32, TotWhImpPhB 72 f32, TotWhImpPhC 74 f32
        """),
    # 701: DER AC measurement
    701: _layout("""
        ACType 2 u16, St 3 u16, InvSt 4 u16, ConnSt 5 u16, Alrm 6 u32, W 10 s16 W_SF, VA 11 s16 VA_SF, Var 12 s16 Var_SF,
        PF 13 s16 PF_SF, A 14 s16 A_SF, LNV 16 u16 V_SF, Hz 17 u32 Hz_SF, TotWhInj 19 u64 TotWh_SF, TotWhAbs 23 u64 TotWh_SF,
        TmpCab 36 s16 Tmp_SF, WL1 41 s16 W_SF, AL1 45 s16 A_SF, VL1 47 u16 V_SF, TotWhInjL1 48 u64 TotWh_SF,
        TotWhAbsL1 52 u64 TotWh_SF, WL2 64 s16 W_SF, AL2 68 s16 A_SF, VL2 70 u16 V_SF, TotWhInjL2 71 u64 TotWh_SF,
        TotWhAbsL2 75 u64 TotWh_SF, WL3 87 s16 W_SF, AL3 91 s16 A_SF, VL3 93 u16 V_SF, TotWhInjL3 94 u64 TotWh_SF,
        TotWhAbsL3 98 u64 TotWh_SF, A_SF 113 sf, V_SF 114 sf, Hz_SF 115 sf, W_SF 116 sf, PF_SF 117 sf, VA_SF 118 sf,
        Var_SF 119 sf, TotWh_SF 120 sf, Tmp_SF 122 sf
        """),
    # 702: DER capacity
    702: _layout("""
        WMaxRtg 2 u16 W_SF, VAMaxRtg 7 u16 VA_SF, WChaRteMaxRtg 10 u16 W_SF, WDisChaRteMaxRtg 11 u16 W_SF, WMax 26 u16 W_SF,
        W_SF 45 sf
        """),
    # 704: DER AC controls
    704: _layout("""
        WMaxLimPctEna 14 u16, WMaxLimPct 15 u16 WMaxLimPct_SF, WSetEna 22 u16, WSetMod 23 u16, WSet 24 s32 WSet_SF,
        WSetPct 28 s16 WSetPct_SF, WMaxLimPct_SF 54 sf, WSet_SF 55 sf, WSetPct_SF 56 sf
        """),
    # 713: DER storage capacity
    713: _layout("""
        WHRtg 2 u16 WH_SF, WHAvail 3 u16 WH_SF, SoC 4 u16 Pct_SF, SoH 5 u16 Pct_SF, Sta 6 u16, WH_SF 7 sf, Pct_SF 8 sf
        """),
    # 714: DER DC measurement
    714: _layout("""
        PrtAlrms 2 u32, NPrt 4 u16, DCA 5 s16 DCA_SF, DCW 6 s16 DCW_SF, DCWhInj 7 u64 DCWH_SF, DCWhAbs 11 u64 DCWH_SF,
        DCA_SF 15 sf, DCV_SF 16 sf, DCW_SF 17 sf, DCWH_SF 18 sf, Tmp_SF 19 sf
        """, 20, 25, """
        PrtTyp 0 u16, ID 1 u16, IDStr 2 string(8), DCA 10 s16 DCA_SF, DCV 11 u16 DCV_SF, DCW 12 s16 DCW_SF,
        DCWhInj 13 u64 DCWH_SF, DCWhAbs 17 u64 DCWH_SF, Tmp 21 s16 Tmp_SF, DCSta 22 u16
        """),
    # 802: Battery base
    802: _layout("""
        WHRtg 3 u16 WHRtg_SF, SoC 11 u16 SoC_SF, SoH 13 u16 SoH_SF, ChaSt 16 u16, Typ 21 u16, State 22 u16, V 34 u16 V_SF,
        A 44 s16 A_SF, W 47 s16 W_SF, WHRtg_SF 53 sf, SoC_SF 56 sf, SoH_SF 58 sf, V_SF 59 sf, A_SF 61 sf, W_SF 63 sf
        """),
}
# fmt: on
