"""Asks a host for Modbus devices: which units answer, whether they speak SunSpec, which fingerprints they have.

One question at a time and each only once, with a pause between them; only read functions exist in the link. A
port that says nothing, or nothing that is Modbus, is soon left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from edge_agent.codec.frames import Words
from edge_agent.codec.read_plan import Block
from edge_agent.codec.sunspec import MARK, Model
from edge_agent.codec.values import key_of
from edge_agent.drivers.modbus_link import ModbusLink
from edge_agent.drivers.modbus_plan import Poll, Register, locate
from edge_agent.drivers.modbus_poller import TARGET_SILENT
from edge_agent.drivers.sunspec import find_chain
from edge_agent.model.clock import Clock
from edge_agent.model.errors import DeviceError, DeviceRefused, GarbledAnswer, NoAnswer, NoConnection
from edge_agent.model.measurements import Reading
from edge_agent.profiles.derive import add_derived
from edge_agent.profiles.library import DeviceProfile
from edge_agent.profiles.profile import ModbusSpec, ProfileSpec
from edge_agent.profiles.setup import Connection, DeviceSetup
from edge_agent.scan.fingerprint import Library, chosen, confidence, holds, maker, sources_of
from edge_agent.scan.found import CHOOSE, GENERAL, UNKNOWN, Found

BASES = (40000, 0, 50000)
_NOBODY = 213  # a unit that no house has: who answers as this one answers as any
_FEW_UNITS = 3  # that are tried with RTU frames on a port that is silent to Modbus TCP
_IN_NUMBERS = ("meter", "charger")  # kinds of which several share a line
_GARBLED, _HUNG_UP, _SILENT = 2, 3, 6  # so many in a row, and the port or unit is left alone

_Question = tuple[int, str, int, int]  # unit, table, address, count


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient and how gentle a scan is; in seconds."""

    connect_s: float = 1.0
    answer_s: float = 1.0
    pause_s: float = 0.02  # between two questions
    connect_pause_s: float = 1.0  # before the first: some inverters are silent right after connecting
    host_s: float = 60.0  # for all ports of a host


class _LeaveAlone(Exception):
    """Nothing useful can come from this port or unit any more."""


@dataclass
class _Asker:
    """Asks one port, each question once: answers, refusals and silence are remembered."""

    link: ModbusLink
    answer_s: float
    answered: bool = False
    _known: dict[_Question, Words | DeviceError] = field(default_factory=dict)
    _faults: list[type[DeviceError]] = field(default_factory=list)  # since the last answer

    async def words(self, unit: int, table: str, address: int, count: int) -> Words:
        """An answer. Raises DeviceError, or _LeaveAlone when it is time."""
        key = (unit, table, address, count)
        if key not in self._known:
            self._known[key] = await self._ask(*key)
        found = self._known[key]
        if isinstance(found, DeviceError):
            raise found
        return found

    async def _ask(self, unit: int, table: str, address: int, count: int) -> Words | DeviceError:
        try:
            words = await self.link.read(unit, table, address, count, self.answer_s)
        except DeviceRefused as error:
            self._heard()
            return error
        except DeviceError as error:
            self._faults.append(type(error))
            if self._faults.count(NoConnection) >= _HUNG_UP or (self._faults.count(GarbledAnswer) >= _GARBLED and not self.answered):
                raise _LeaveAlone from None
            return error
        self._heard()
        return words

    def _heard(self) -> None:
        self.answered = True
        self._faults.clear()

    def answered_question(self, unit: int) -> _Question | None:
        """A question to which a unit had an answer that was no refusal."""
        return next((key for key, found in self._known.items() if key[0] == unit and not isinstance(found, DeviceError)), None)

    def stop_if_silent(self) -> None:
        """Raises _LeaveAlone when a unit that answered before has been silent for too long."""
        if self._faults.count(NoAnswer) >= _SILENT:
            raise _LeaveAlone


@dataclass(frozen=True, slots=True)
class PortScan:
    """What is asked of every port: these units, held against these profiles."""

    library: Library
    units: Sequence[int]
    pace: Pace
    clock: Clock

    async def examine(self, host: str, port: int, into: list[Found]) -> None:
        """Adds the devices behind a port, as they are found. Where the first units are silent, RTU frames are tried before the other units."""
        tcp, rtu = Connection("tcp", host, port), Connection("rtu+tcp", host, port)
        if await self._examine(tcp, self.units, into, _FEW_UNITS) and await self._examine(rtu, self.units[:_FEW_UNITS], into):
            await self._examine(tcp, self.units[_FEW_UNITS:], into)

    async def _examine(self, connection: Connection, units: Sequence[int], into: list[Found], silent_units: int = 256) -> bool:
        """Whether the port is open and stayed silent; after so many silent units it is left."""
        link = ModbusLink(connection, self.clock)
        link.keep_pace(ModbusSpec(pause=self.pace.pause_s, connect_pause=self.pace.connect_pause_s))
        asker = _Asker(link, self.pace.answer_s)
        try:
            await link.connect(self.pace.connect_s)
            await self._examine_units(asker, units, into, silent_units)
        except NoConnection:
            return False
        except _LeaveAlone:
            return not asker.answered
        finally:
            await link.close()
        return not asker.answered

    async def _examine_units(self, asker: _Asker, units: Sequence[int], into: list[Found], silent_units: int) -> None:
        """Some ports answer as any unit, some refuse in the name of units that do not exist: what nobody says tells which."""
        nobody = await _first_answer(asker, _NOBODY)
        mute: list[int] = []
        for number, unit in enumerate(units):
            if number >= silent_units and not asker.answered:
                return
            if not await self._is_there(asker, unit):
                continue
            doubtful = isinstance(nobody, int) and await _first_answer(asker, unit) == nobody
            found = await self._identify(asker, unit, doubtful)
            question = asker.answered_question(unit)
            if question is None and doubtful:
                mute.append(unit)
                continue
            any_unit = question is not None and await _same(asker, question, _NOBODY)
            into.append(self._at_home(found) if any_unit else found)
            if any_unit:
                return
        if mute and not any(one.address == str(asker.link.connection) for one in into):
            into.append(Found(str(asker.link.connection), mute[0], "", "", (), UNKNOWN))

    def _at_home(self, found: Found) -> Found:
        """A device that answers as any unit, at the unit where its profile expects it."""
        home = self.library[found.profiles[0]].spec.modbus.unit if len(found.profiles) == 1 else found.unit
        return replace(found, unit=home if home in self.units else found.unit)

    async def _is_there(self, asker: _Asker, unit: int) -> bool:
        """Whether a unit answers, be it with a refusal. A silent one is asked once more, where a profile at home there has registers."""
        for table, address, count in ((("holding", BASES[0], 2)), *self._home(unit)):
            try:
                await asker.words(unit, table, address, count)
            except DeviceRefused as error:
                return error.code not in TARGET_SILENT
            except DeviceError:
                continue
            return True
        return False

    def _home(self, unit: int) -> Iterator[tuple[str, int, int]]:
        for profile in self.library.values():
            spec = profile.spec
            if spec.transport == "modbus" and spec.modbus.unit == unit and spec.fingerprint:
                register = self._registers(profile, unit, ()).get(spec.fingerprint[0].point)
                if register is not None:
                    yield register.table, register.span.address, register.span.count
                    return

    async def _identify(self, asker: _Asker, unit: int, doubtful: bool) -> Found:
        """What answers as a unit: SunSpec first, then the profiles, those at home at this unit before the others.

        A `doubtful` unit, which may not exist, is only held against what is at home there or comes in numbers.
        """
        chain = await self._chain(asker, unit)
        general = self.library.get(GENERAL)
        common = await self._readings(asker, general, unit, chain, ("manufacturer", "model", "serial")) if chain and general else {}
        fitting: dict[str, DeviceProfile] = {}
        try:
            for name in self._candidates(unit, bool(chain), doubtful):
                if profile := await self._fitting(asker, self.library[name], unit, chain):
                    fitting[name] = profile
                asker.stop_if_silent()
        except _LeaveAlone:
            pass  # what fits so far is what can be said
        names = chosen(fitting, self.library)
        known = fitting[names[0]] if len(names) == 1 else None
        serial = _text(common.get("serial")) or (await self._serial(asker, known, unit, chain) if known else "")
        what = " ".join(filter(None, (_text(common.get("manufacturer")), _text(common.get("model")))))
        return Found(
            address=str(asker.link.connection),
            unit=unit,
            what=what or (maker(known.spec) if known else ""),
            serial=serial,
            profiles=names,
            confidence=confidence(known.spec) if known else CHOOSE if names else UNKNOWN,
            variant=known.variant if known and known.variant and known.spec.variants[known.variant].when is None else "",
            models=tuple(model.id for model in chain),
            reads_units=frozenset(register.unit for register in self._registers(known, unit, chain).values()) if known else frozenset(),
        )

    def _candidates(self, unit: int, sunspec: bool, doubtful: bool) -> list[str]:
        """The Modbus profiles to try at a unit, those at home there first."""

        def is_worth_it(spec: ProfileSpec) -> bool:
            chained = any(spec.points[mark.point].sunspec for mark in spec.fingerprint)
            likely = not doubtful or spec.modbus.unit == unit or spec.kind in _IN_NUMBERS
            return spec.transport == "modbus" and bool(spec.fingerprint) and (sunspec or not chained) and likely

        names = [name for name, profile in self.library.items() if is_worth_it(profile.spec)]
        return sorted(names, key=lambda name: self.library[name].spec.modbus.unit != unit)

    async def _chain(self, asker: _Asker, unit: int) -> tuple[Model, ...]:
        for base in BASES:
            try:
                if await asker.words(unit, "holding", base, 2) == MARK:
                    return await find_chain(asker.link, unit, [base], self.pace.answer_s)
            except DeviceError:
                continue
        return ()

    async def _fitting(self, asker: _Asker, profile: DeviceProfile, unit: int, chain: tuple[Model, ...]) -> DeviceProfile | None:
        """The profile if it fits, else the first of its variants that does: a byte order must not hide a device."""
        if await self._fits(asker, profile, unit, chain):
            return profile
        if await self._readings(asker, profile, unit, chain, (profile.spec.fingerprint[0].point,)):
            for variant in profile.spec.variants:
                if await self._fits(asker, varied := profile.in_variant(variant), unit, chain):
                    return varied
        return None

    async def _fits(self, asker: _Asker, profile: DeviceProfile, unit: int, chain: tuple[Model, ...]) -> bool:
        """Asks for one mark after the other, until one does not hold."""
        readings: dict[str, Reading] = {}
        for mark in profile.spec.fingerprint:
            readings |= await self._readings(asker, profile, unit, chain, (mark.point,))
            if not holds(mark, profile.spec, readings.get(mark.point)):
                return False
        return bool(profile.spec.fingerprint)

    async def _serial(self, asker: _Asker, profile: DeviceProfile, unit: int, chain: tuple[Model, ...]) -> str:
        identity = profile.spec.identity
        return _text((await self._readings(asker, profile, unit, chain, (identity,))).get(identity)) if identity else ""

    async def _readings(
        self, asker: _Asker, profile: DeviceProfile, unit: int, chain: tuple[Model, ...], points: Sequence[str]
    ) -> dict[str, Reading]:
        """The points that the device gives, with those they are made of."""
        spec = profile.spec
        registers = self._registers(profile, unit, chain)
        wanted = [point for point in points if point in spec.points]
        readings: dict[str, Reading] = {}
        for point in sources_of(spec, wanted):
            if (register := registers.get(point)) is None:
                continue
            span = register.span
            try:
                words = await asker.words(span.unit, span.table, span.address, span.count)
            except DeviceError:
                continue  # a point that is not there is no mark
            Poll(Block(span.unit, span.table, span.address, span.count, (span,)), [register]).readings(words, 0.0, readings)
        if any(spec.points[point].sum or spec.points[point].first for point in wanted):
            add_derived(spec, readings, 0.0)
        return readings

    def _registers(self, profile: DeviceProfile, unit: int, chain: tuple[Model, ...]) -> dict[str, Register]:
        """Where the profile's points are with the parameters' defaults; none of a profile that needs to be told more."""
        parameters = {name: one.default for name, one in profile.spec.parameters.items() if one.default is not None}
        if len(parameters) < len(profile.spec.parameters):
            return {}
        return locate(DeviceSetup("scan", "scan", profile, unit=unit, parameters=parameters), profile.spec, chain)[0]


async def _same(asker: _Asker, question: _Question, unit: int) -> bool:
    """Whether another unit has an answer to a question, too."""
    try:
        return bool(await asker.words(unit, *question[1:]))
    except DeviceError:
        return False


async def _first_answer(asker: _Asker, unit: int) -> Words | int | None:
    """What a unit says to the first question: words, a refusal's code, or nothing."""
    try:
        return await asker.words(unit, "holding", BASES[0], 2)
    except DeviceRefused as error:
        return None if error.code in TARGET_SILENT else error.code
    except DeviceError:
        return None


def _text(reading: Reading | None) -> str:
    return key_of(reading.value).strip() if reading is not None and reading.value is not None else ""
