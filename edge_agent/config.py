"""The site file: what an installer writes, checked as a whole, and turned into the settings of each floor.

`load_site` reports every mistake at once, each with its line and what to write instead. A client secret
never stands in the file: it comes from a file beside it, a systemd credential or the environment.
"""

from __future__ import annotations

import os
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from edge_agent.cloud import vocabulary
from edge_agent.codec.human import Duration, Integer, Size, nearest
from edge_agent.drivers.mqtt_hub import MqttSettings
from edge_agent.model.errors import ConfigError, Problem
from edge_agent.model.measurements import DeviceStatus, Role
from edge_agent.profiles.document import Document, Location, Section, read_document, validate
from edge_agent.profiles.library import DeviceProfile, load_profile
from edge_agent.profiles.setup import Connection, DeviceSetup, parse_connection
from edge_agent.uplink.client import MoostAccount
from edge_agent.uplink.registration import Building
from edge_agent.uplink.uploader import UploadSettings

PLATFORM_INTERVAL_S = 900  # the guide: one update per sensor every 15 minutes
SECRET_CREDENTIAL = "moost-client-secret"  # its name for systemd's LoadCredential=
SECRET_VARIABLE = "MOOST_CLIENT_SECRET"
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _listed(value: object) -> object:
    return value if isinstance(value, list) or value is None else [value]


class MoostSection(Section):
    """The account: which customer, which building, which credentials."""

    base_url: str = "https://api.moost.io"
    customer_id: str
    building_id: str
    client_id: str
    client_secret_file: str | None = None
    ca_file: str | None = None  # a private authority, for a cloud of one's own


class TariffSection(Section):
    """The building's tariff. `low_tariff` gives each day's window: `monday: 19:00-07:00`."""

    type: Literal["SINGLE", "DUAL"]
    min_price: str | None = Field(None, pattern=r"^\d+(\.\d+)?$")
    max_price: str | None = Field(None, pattern=r"^\d+(\.\d+)?$")
    currency: str | None = Field(None, pattern=r"^[A-Z]{3}$")
    low_tariff: dict[Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"], str] = {}


class BuildingSection(Section):
    """What registers the building at the platform."""

    zip: str
    city: str
    country_code: str = Field(pattern=r"^[A-Z]{2}$")
    tariff: TariffSection | None = None


class ReportingSection(Section):
    """When and how values become events. The last four keys are decisions where the platform is silent."""

    interval: Duration = float(PLATFORM_INTERVAL_S)
    poll_interval: Duration = 10.0
    household_id: str = "household"
    household_name: str = "Household"
    timestamp: Literal["end", "start"] = "end"
    outside_the_table: bool = True
    status_ids: dict[DeviceStatus, Integer] = {}


class UploadSection(Section):
    """How old an event may be to go through the live call, and how many old ones go at once."""

    backfill_after: Duration = 3600.0
    batch_size: Integer = Field(500, ge=1, le=10_000)


class StorageSection(Section):
    """Where the queue is, and how large it may grow."""

    path: str = "edge-agent.db"
    max_size: Size = 256_000_000


class MqttSection(Section):
    """The broker: `mqtt://host:1883`, or `mqtts://host:8883` for TLS."""

    broker: str = "mqtt://localhost:1883"
    username: str = ""
    password_file: str | None = None
    ca_file: str | None = None
    client_id: str = ""


class WebSection(Section):
    """Where the status page listens."""

    listen: str = "127.0.0.1:8080"


class DeviceSection(Section):
    """One device of the house."""

    id: str
    name: str
    profile: str
    connection: str | None = None
    unit: Integer | None = Field(None, ge=0, le=255)
    topic: str | None = None
    role: Role | None = None
    roles: Annotated[list[Role], BeforeValidator(_listed)] | None = None
    type: str = ""
    invert: bool = False
    scale: float = Field(1.0, gt=0)
    serial: str = ""
    variant: str | None = None
    parameters: dict[str, str] = {}
    poll_interval: Duration | None = None


class SiteSection(Section):
    """The whole file."""

    moost: MoostSection
    time_zone: str | None = None
    building: BuildingSection | None = None
    reporting: ReportingSection = ReportingSection()
    upload: UploadSection = UploadSection()
    storage: StorageSection = StorageSection()
    mqtt: MqttSection | None = None
    web: WebSection | None = None
    devices: list[DeviceSection]


@dataclass(frozen=True)
class Site:
    """A checked site file: the settings of every floor, and what is allowed but worth a warning."""

    file: Path
    account: MoostAccount
    building: Building | None
    time_zone: str
    interval_s: int
    poll_interval_s: float
    decisions: vocabulary.Decisions
    household: vocabulary.HouseholdDevice
    upload: UploadSettings
    database: Path
    max_size: int
    mqtt: MqttSettings | None
    devices: tuple[DeviceSetup, ...]
    warnings: tuple[str, ...]


def load_site(path: Path) -> Site:
    """The site file, checked with the profiles it names. Raises ConfigError with every mistake at once."""
    document = read_document(path)
    section, problems = _schema(document)
    if section is None:
        raise ConfigError(problems)
    reader = _SiteReader(path.resolve(), document, section)
    site = reader.site()
    if site is None or reader.problems:
        raise ConfigError(sorted(reader.problems, key=lambda problem: (problem.file != str(path), problem.line)))
    return site


def _schema(document: Document) -> tuple[SiteSection | None, list[Problem]]:
    """The file as its schema; a secret written into it is named before anything else could print it."""
    data = document.data if isinstance(document.data, dict) else {}
    for name, section in data.items():
        for key in section if isinstance(section, dict) else ():
            if "secret" in str(key) or "password" in str(key):
                if str(key).endswith("_file"):
                    continue
                hint = f"put it into a file of its own, readable by the agent only, and write {key}_file: with its name"
                return None, [document.problem((name, key), f"{name}.{key}: a secret does not belong into this file", hint)]
    try:
        return validate(document, SiteSection), []
    except ConfigError as error:
        return None, error.problems


class _SiteReader:
    """Checks what the schema cannot see and collects every problem on the way."""

    def __init__(self, path: Path, document: Document, section: SiteSection) -> None:
        self.path = path
        self.document = document
        self.section = section
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def wrong(self, location: Location, text: str, hint: str = "") -> None:
        self.problems.append(self.document.problem(location, text, hint))

    def site(self) -> Site | None:
        devices = tuple(self._devices())
        account, reporting, storage = self._account(), self._reporting(), self.section.storage
        mqtt, zone, building = self._mqtt(), self._time_zone(), self._building()
        self._check_lines(devices)
        self._check_roles(devices)
        if account is None or zone is None:
            return None
        return Site(
            file=self.path,
            account=account,
            building=building,
            time_zone=zone,
            interval_s=int(reporting.interval),
            poll_interval_s=reporting.poll_interval,
            decisions=vocabulary.Decisions(
                interval_timestamp=reporting.timestamp,
                outside_the_table=reporting.outside_the_table,
                status_ids={**vocabulary.STATUS_IDS, **reporting.status_ids},
            ),
            household=vocabulary.HouseholdDevice(reporting.household_id, reporting.household_name),
            upload=UploadSettings(backfill_after_s=self.section.upload.backfill_after, batch_size=self.section.upload.batch_size),
            database=Path(os.environ.get("STATE_DIRECTORY") or self.path.parent) / storage.path,
            max_size=storage.max_size,
            mqtt=mqtt,
            devices=devices,
            warnings=tuple(self.warnings),
        )

    # the account

    def _account(self) -> MoostAccount | None:
        moost = self.section.moost
        checks = (
            ("customer_id", vocabulary.customer_id_problem(moost.customer_id)),
            ("building_id", vocabulary.building_id_problem(moost.building_id)),
            ("client_id", vocabulary.client_id_problem(moost.client_id)),
        )
        for key, problem in checks:
            if problem:
                self.wrong(("moost", key), f"moost.{key}: {problem}")
        url = urlsplit(moost.base_url)
        if url.scheme not in ("https", "http") or not url.hostname or url.username or url.query:
            self.wrong(("moost", "base_url"), f"moost.base_url: {moost.base_url!r} is no address", "write https://api.moost.io")
        elif url.scheme == "http" and url.hostname not in ("localhost", "127.0.0.1", "::1"):
            self.wrong(("moost", "base_url"), "moost.base_url: the client secret would travel in the clear", "write https://")
        secret = self._secret()
        if secret is None:
            return None
        return MoostAccount(
            moost.base_url.rstrip("/"), moost.customer_id, moost.building_id, moost.client_id, secret, self._file(moost.ca_file, "moost")
        )

    def _secret(self) -> str | None:
        """The client secret: its file, else systemd's credential, else the environment."""
        name = self.section.moost.client_secret_file
        at: Location = ("moost", "client_secret_file")
        if name:
            secret = self._secret_in(self.path.parent / name, at)
        elif (folder := os.environ.get("CREDENTIALS_DIRECTORY")) and (Path(folder) / SECRET_CREDENTIAL).exists():
            secret = self._secret_in(Path(folder) / SECRET_CREDENTIAL, at)
        else:
            secret = os.environ.get(SECRET_VARIABLE, "").strip() or None
            if secret is None:
                self.wrong(("moost",), "moost: there is no client secret", "write client_secret_file: client-secret, with the secret in that file")
        if secret and not re.fullmatch(r"[a-zA-Z0-9_-]{1,100}", secret):  # the API's pattern; the secret itself is not shown
            self.wrong(
                at, "the client secret holds characters that no client secret has", "letters, digits, _ and - only; look for a line break or quotes"
            )
        return secret

    def _secret_in(self, path: Path, at: Location) -> str | None:
        try:
            secret = path.read_text(encoding="utf-8").strip()
            mode = path.stat().st_mode
        except (OSError, UnicodeDecodeError) as error:
            self.wrong(at, f"{path}: {error.strerror if isinstance(error, OSError) else 'is no text'}", "the file holds the secret and nothing else")
            return None
        if mode & 0o077 and not path.is_relative_to(os.environ.get("CREDENTIALS_DIRECTORY") or "/nowhere"):
            self.warnings.append(f"{path} can be read by others; make it private: chmod 600 {path}")
        if not secret:
            self.wrong(at, f"{path} is empty", "the file holds the secret and nothing else")
        return secret or None

    def _file(self, name: str | None, section: str) -> Path | None:
        if name is None:
            return None
        path = self.path.parent / name
        if not path.is_file():
            self.wrong((section, "ca_file"), f"{section}.ca_file: there is no file {path}")
        return path

    # the house

    def _time_zone(self) -> str | None:
        name = self.section.time_zone or _system_time_zone()
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            self.wrong(("time_zone",), f"time_zone: {name!r} is no time zone", nearest(name, zoneinfo.available_timezones()))
            return None
        return name

    def _building(self) -> Building | None:
        building = self.section.building
        if building is None:
            return None
        tariff = self._tariff(building.tariff) if building.tariff else None
        return Building(building.zip, building.city, building.country_code, self.section.time_zone, tariff)

    def _tariff(self, tariff: TariffSection) -> dict[str, object]:
        """The tariff as the platform writes it (guide, Tariff Configuration)."""
        at: Location = ("building", "tariff")
        prices = {"minPrice": tariff.min_price, "maxPrice": tariff.max_price, "currency": tariff.currency}
        result: dict[str, object] = {"type": tariff.type, **{key: value for key, value in prices.items() if value is not None}}
        if tariff.type == "DUAL":
            windows: dict[str, str] = {}
            for day in _DAYS:
                if (window := tariff.low_tariff.get(day)) is None:  # type: ignore[call-overload]
                    continue
                start, _, end = str(window).replace(" ", "").partition("-")
                if not all(_is_time(one) for one in (start, end)):
                    self.wrong((*at, "low_tariff", day), f"building.tariff.low_tariff.{day}: {window!r} is no window", "write 19:00-07:00")
                windows |= {f"{day}StartTime": start, f"{day}EndTime": end}
            if not windows:
                self.wrong(at, "building.tariff: a DUAL tariff needs low_tariff:", "write low_tariff: {monday: 19:00-07:00, ...}")
            result["dual"] = {"lowTariff": windows}
        elif tariff.low_tariff:
            self.wrong((*at, "low_tariff"), "building.tariff: a SINGLE tariff has no low_tariff", "write type: DUAL")
        return result

    def _reporting(self) -> ReportingSection:
        reporting = self.section.reporting
        at: Location = ("reporting",)
        if reporting.interval < 1 or 86400 % reporting.interval:
            self.wrong((*at, "interval"), f"reporting.interval: {reporting.interval:g} s does not divide a day", "write 15m")
        elif reporting.interval != PLATFORM_INTERVAL_S:
            self.warnings.append(f"reporting.interval is {reporting.interval:g} s: the platform asks for one update every 15 minutes (15m)")
        if not 0.01 <= reporting.poll_interval <= reporting.interval:
            self.wrong((*at, "poll_interval"), "reporting.poll_interval: is longer than the interval or 0", "write 10s")
        if problem := vocabulary.device_id_problem(reporting.household_id):
            self.wrong((*at, "household_id"), f"reporting.household_id: {problem}")
        if problem := vocabulary.device_name_problem(reporting.household_name):
            self.wrong((*at, "household_name"), f"reporting.household_name: {problem}")
        for status, number in reporting.status_ids.items():
            if not -1 <= number <= 4:
                self.wrong((*at, "status_ids", status.value), f"reporting.status_ids.{status}: {number} is outside -1 to 4")
        return reporting

    def _mqtt(self) -> MqttSettings | None:
        section = self.section.mqtt
        if section is None:
            return None
        url = urlsplit(section.broker)
        try:
            port = url.port
        except ValueError:
            port = -1
        if url.scheme not in ("mqtt", "mqtts") or not url.hostname or port == -1 or url.path not in ("", "/"):
            self.wrong(("mqtt", "broker"), "mqtt.broker: is no broker", "write mqtt://localhost:1883, or mqtts://host:8883")
            return None
        if url.username or url.password:
            self.wrong(("mqtt", "broker"), "mqtt.broker: a password does not belong into this file", "write username: and password_file: instead")
            return None
        password = ""
        if section.password_file:
            password = self._secret_in(self.path.parent / section.password_file, ("mqtt", "password_file")) or ""
        return MqttSettings(
            host=url.hostname,
            port=port or (8883 if url.scheme == "mqtts" else 1883),
            tls=url.scheme == "mqtts",
            ca_file=self._file(section.ca_file, "mqtt"),
            username=section.username,
            password=password,
            client_id=section.client_id,
        )

    # the devices

    def _devices(self) -> Iterator[DeviceSetup]:
        profiles: dict[str, DeviceProfile | None] = {}
        seen: dict[str, int] = {}
        for number, device in enumerate(self.section.devices):
            at: Location = ("devices", number)
            if problem := vocabulary.device_id_problem(device.id):
                self.wrong((*at, "id"), f"devices[{number}].id: {problem}")
            if problem := vocabulary.device_name_problem(device.name):
                self.wrong((*at, "name"), f"{device.id}: name: {problem}")
            if device.id in seen:
                self.wrong((*at, "id"), f"{device.id!r} is the id of two devices", f"the first is in line {seen[device.id]}; ids are for ever")
            elif device.id == self.section.reporting.household_id:
                self.wrong((*at, "id"), f"{device.id!r} is the id of the household", "choose another, or set reporting.household_id")
            seen.setdefault(device.id, self.document.line((*at, "id")))
            if device.type and vocabulary.device_type_problem(device.type):
                names = {one.value for one in vocabulary.DeviceType} - {vocabulary.DeviceType.GATEWAY.value}
                self.wrong((*at, "type"), f"{device.id}: type: {device.type!r} is no device type", nearest(device.type, names))
            if device.profile not in profiles:
                profiles[device.profile] = self._profile(device, at)
            profile = profiles[device.profile]
            if profile is not None and (setup := self._setup(device, profile, at)) is not None:
                yield setup
        if not self.section.devices:
            self.wrong(("devices",), "devices: there is none", "name at least one device with id, name and profile")

    def _profile(self, device: DeviceSection, at: Location) -> DeviceProfile | None:
        try:
            return load_profile(device.profile, beside=self.path.parent)
        except ConfigError as error:
            if any(problem.line for problem in error.problems):
                self.problems += error.problems
            else:
                for problem in error.problems:
                    self.wrong((*at, "profile"), f"{device.id}: {problem.text}", problem.hint)
            return None

    def _setup(self, device: DeviceSection, profile: DeviceProfile, at: Location) -> DeviceSetup | None:
        before = len(self.problems)
        if device.variant is not None:
            if device.variant not in profile.spec.variants:
                hint = nearest(device.variant, profile.spec.variants) or "the profile has none"
                self.wrong((*at, "variant"), f"{device.id}: {profile.name} has no variant {device.variant!r}", hint)
                return None
            profile = profile.in_variant(device.variant)
        role = self._role(device, profile, at)
        connection = self._connection(device, profile, at)
        parameters = self._parameters(device, profile, at)
        if len(self.problems) > before:
            return None
        return DeviceSetup(
            id=device.id,
            name=device.name,
            profile=profile,
            connection=connection,
            unit=profile.spec.modbus.unit if device.unit is None else device.unit,
            topic=parameters.get("topic", ""),
            parameters=parameters,
            role=role,
            roles=frozenset(device.roles) if device.roles else None,
            device_type=device.type,
            invert=device.invert,
            scale=device.scale,
            serial=device.serial,
            poll_interval_s=device.poll_interval or self.section.reporting.poll_interval,
        )

    def _role(self, device: DeviceSection, profile: DeviceProfile, at: Location) -> Role | None:
        names = [role.value for role in Role]
        if profile.roles:
            own = sorted(role.value for role in profile.roles)
            if device.role is not None:
                self.wrong(
                    (*at, "role"), f"{device.id}: {profile.name} has several roles ({', '.join(own)})", "leave role: out, or choose with roles: [...]"
                )
            for role in set(device.roles or ()) - profile.roles:
                self.wrong((*at, "roles"), f"{device.id}: {profile.name} has no role {role.value!r}", nearest(role.value, own))
            for role in device.roles or profile.roles:
                if problem := vocabulary.device_id_problem(f"{device.id}.{role}"):
                    self.wrong((*at, "id"), f"{device.id}.{role}: {problem}")
            return None
        if device.roles is not None:
            self.wrong((*at, "roles"), f"{device.id}: {profile.name} has one measuring point", "write role: instead of roles:")
        if device.role is None and profile.spec.role == "any":
            hint = f"write role: with one of {', '.join(names)}"
            self.wrong(at, f"{device.id}: {profile.name} does not tell where it measures", hint)
        return device.role or (profile.spec.role if isinstance(profile.spec.role, Role) else None)

    def _connection(self, device: DeviceSection, profile: DeviceProfile, at: Location) -> Connection | None:
        if profile.spec.transport == "mqtt":
            if device.connection or device.unit is not None:
                key = "connection" if device.connection else "unit"
                self.wrong((*at, key), f"{device.id}: {profile.name} is read over MQTT", f"leave {key}: out and write topic:")
            if self.section.mqtt is None:
                self.wrong(
                    at, f"{device.id}: {profile.name} is read over MQTT, but there is no broker", "write mqtt: {broker: mqtt://localhost:1883}"
                )
            return None
        if device.topic is not None:
            self.wrong((*at, "topic"), f"{device.id}: {profile.name} is read over Modbus", "leave topic: out and write connection:")
        if device.connection is None:
            self.wrong(at, f"{device.id}: 'connection' is missing", "write connection: tcp://192.168.1.9:502")
            return None
        try:
            return parse_connection(device.connection, profile)
        except ValueError as error:
            self.wrong((*at, "connection"), f"{device.id}: {error}")
            return None

    def _parameters(self, device: DeviceSection, profile: DeviceProfile, at: Location) -> dict[str, str]:
        known = profile.spec.parameters
        values = {name: spec.default for name, spec in known.items()}
        if profile.spec.transport == "mqtt":
            values["topic"] = device.topic or profile.spec.mqtt.topic
            if values["topic"] is None:
                self.wrong(at, f"{device.id}: 'topic' is missing", "write topic: with the device's base topic")
            elif set("+#") & set(values["topic"]):
                self.wrong((*at, "topic"), f"{device.id}: topic: holds a wildcard", "write the device's own base topic")
        for name, value in device.parameters.items():
            if name not in known:
                hint = nearest(name, known) or "the profile has none"
                self.wrong((*at, "parameters", name), f"{device.id}: {profile.name} has no parameter {name!r}", hint)
            elif known[name].stride is not None and not value.isdigit():
                self.wrong((*at, "parameters", name), f"{device.id}: {name}: {value!r} is no number")
            else:
                values[name] = value
        for name, filled in values.items():
            if filled is None and name != "topic":
                self.wrong((*at, "parameters"), f"{device.id}: parameter {name!r} is missing", known[name].help)
        return {name: filled for name, filled in values.items() if filled is not None}

    def _check_lines(self, devices: tuple[DeviceSetup, ...]) -> None:
        """Devices on one port must agree on how it is set; two with one unit are one device written twice."""
        first: dict[str, DeviceSetup] = {}
        units: dict[tuple[str, int, str], str] = {}
        number_of = {device.id: number for number, device in enumerate(self.section.devices)}
        for setup in devices:
            if (connection := setup.connection) is None:
                continue
            at: Location = ("devices", number_of[setup.id], "connection")
            other = first.setdefault(connection.line, setup)
            if other.connection != connection:
                self.wrong(
                    at, f"{setup.id}: is set to {connection}, but {other.id} on the same line to {other.connection}", "one line has one setting"
                )
            key = (connection.line, setup.unit, setup.profile.name)
            if key in units and not setup.parameters:
                self.wrong(at, f"{setup.id}: reads the same unit {setup.unit} as {units[key]}", "give each its own unit:")
            units.setdefault(key, setup.id)

    def _check_roles(self, devices: tuple[DeviceSetup, ...]) -> None:
        grids = [
            setup.id for setup in devices if setup.role is Role.GRID or Role.GRID in (setup.profile.roles if setup.roles is None else setup.roles)
        ]
        if len(grids) > 1:
            hint = "if they measure the same connection, leave one out: roles: [pv, battery] on a hybrid, another role: on a meter"
            self.warnings.append(f"several grid meters ({', '.join(grids)}) are added up; {hint}")


def _is_time(text: str) -> bool:
    hours, _, minutes = text.partition(":")
    return hours.isdigit() and minutes.isdigit() and len(hours) == 2 and len(minutes) == 2 and int(hours) < 24 and int(minutes) < 60


def _system_time_zone() -> str:
    """The system's IANA zone, from where Debian and systemd keep it; UTC when they do not say."""
    target = os.path.realpath("/etc/localtime")
    if "/zoneinfo/" in target:
        return target.partition("/zoneinfo/")[2]
    try:
        return Path("/etc/timezone").read_text(encoding="utf-8").strip() or "UTC"
    except OSError:
        return "UTC"
