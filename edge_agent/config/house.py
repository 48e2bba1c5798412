"""The devices of a house: each with its profile, role and line, and what they must agree on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge_agent.cloud import identity, vocabulary
from edge_agent.codec.human import nearest
from edge_agent.config.findings import Findings
from edge_agent.config.schema import DeviceSection, SiteSection
from edge_agent.model.errors import ConfigError
from edge_agent.model.measurements import Role
from edge_agent.profiles.document import Location
from edge_agent.profiles.library import DeviceProfile, load_profile
from edge_agent.profiles.setup import Connection, DeviceSetup, parse_connection

_TYPES = {device.value for device in vocabulary.DeviceType} - {vocabulary.DeviceType.GATEWAY.value}  # the household's own


def devices_of(findings: Findings, site: SiteSection) -> tuple[DeviceSetup, ...]:
    """The devices that are right by themselves; what is wrong with the others, and between them, is noted."""
    if not site.devices and not findings.problems:
        findings.wrong(("devices",), "devices: there is none", "name at least one device with id, name and profile")
    _check_ids(findings, site)
    setups = tuple(_setups(findings, site))
    _check_lines(findings, site, setups)
    _check_grids(findings, setups)
    return setups


def _check_ids(findings: Findings, site: SiteSection) -> None:
    lines: dict[str, int] = {}
    for number, device in enumerate(site.devices):
        at: Location = ("devices", number)
        if problem := identity.device_id_problem(device.id):
            findings.wrong((*at, "id"), f"id: {problem}")
        if problem := identity.device_name_problem(device.name):
            findings.wrong((*at, "name"), f"{device.id}: name: {problem}")
        if device.id in lines:
            findings.wrong((*at, "id"), f"{device.id!r} is the id of two devices", f"the first is in line {lines[device.id]}; ids are for ever")
        elif device.id == site.reporting.household_id:
            findings.wrong((*at, "id"), f"{device.id!r} is the id of the household", "choose another, or set reporting.household_id")
        lines.setdefault(device.id, findings.document.line((*at, "id")))
        if device.type and device.type not in _TYPES:
            findings.wrong((*at, "type"), f"{device.id}: type: {device.type!r} is no device type", nearest(device.type, _TYPES))


def _setups(findings: Findings, site: SiteSection) -> Iterator[DeviceSetup]:
    profiles: dict[str, DeviceProfile | None] = {}
    for number, device in enumerate(site.devices):
        at: Location = ("devices", number)
        if device.profile not in profiles:
            profiles[device.profile] = _profile(findings, device, at)
        profile = profiles[device.profile]
        if profile is not None and (setup := _setup(findings, site, device, profile, at)) is not None:
            yield setup


def _profile(findings: Findings, device: DeviceSection, at: Location) -> DeviceProfile | None:
    try:
        return load_profile(device.profile, beside=findings.profiles)
    except ConfigError as error:
        for problem in error.problems:
            if problem.line:  # a mistake inside a profile of the installer's own
                findings.problems.append(problem)
            else:
                text = problem.text if problem.file == device.profile else f"{problem.file}: {problem.text}"
                findings.wrong((*at, "profile"), f"{device.id}: {text}", problem.hint)
        return None


def _setup(findings: Findings, site: SiteSection, device: DeviceSection, profile: DeviceProfile, at: Location) -> DeviceSetup | None:
    before = len(findings.problems)
    if device.poll_interval is not None and not 0.01 <= device.poll_interval <= site.reporting.interval:
        findings.wrong((*at, "poll_interval"), f"{device.id}: poll_interval: is longer than the interval, or next to nothing", "write 10s")
    if device.variant is not None:
        if device.variant not in profile.spec.variants:
            hint = nearest(device.variant, profile.spec.variants) or "the profile has none"
            findings.wrong((*at, "variant"), f"{device.id}: {profile.name} has no variant {device.variant!r}", hint)
            return None
        profile = profile.in_variant(device.variant)
    role = _role(findings, device, profile, at)
    _check_type(findings, device, [role] if role else sorted(device.roles or profile.roles), at)
    connection = _connection(findings, site, device, profile, at)
    parameters = _parameters(findings, device, profile, at)
    if len(findings.problems) > before:
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
        poll_interval_s=device.poll_interval or site.reporting.poll_interval,
    )


def _role(findings: Findings, device: DeviceSection, profile: DeviceProfile, at: Location) -> Role | None:
    """The role of a device with one measuring point; None for one with several."""
    if profile.roles:
        _check_several_roles(findings, device, profile, at)
        return None
    if device.roles is not None:
        findings.wrong((*at, "roles"), f"{device.id}: {profile.name} has one measuring point", "write role: instead of roles:")
    if device.role is None and profile.spec.role == "any":
        names = ", ".join(role.value for role in Role)
        findings.wrong(at, f"{device.id}: {profile.name} does not tell where it measures", f"write role: with one of {names}")
    return device.role or (profile.spec.role if isinstance(profile.spec.role, Role) else None)


def _check_type(findings: Findings, device: DeviceSection, roles: Sequence[Role], at: Location) -> None:
    """A device type must fit every role that the device has in this house."""
    if device.type not in _TYPES:
        return
    for role in roles:
        if problem := vocabulary.device_type_problem(role, device.type):
            findings.wrong((*at, "type"), f"{device.id}: type: {problem}")


def _check_several_roles(findings: Findings, device: DeviceSection, profile: DeviceProfile, at: Location) -> None:
    own = sorted(role.value for role in profile.roles)
    for key, given in (("invert", device.invert), ("scale", device.scale != 1)):
        if given:
            findings.wrong((*at, key), f"{device.id}: {profile.name} has several roles, which {key}: would all turn", f"leave {key}: out")
    if device.role is not None:
        text = f"{device.id}: {profile.name} has several roles ({', '.join(own)})"
        findings.wrong((*at, "role"), text, "leave role: out, or choose with roles: [...]")
    for role in set(device.roles or ()) - profile.roles:
        findings.wrong((*at, "roles"), f"{device.id}: {profile.name} has no role {role.value!r}", nearest(role.value, own))
    for role in device.roles or profile.roles:
        if problem := identity.device_id_problem(f"{device.id}.{role}"):
            findings.wrong((*at, "id"), f"{device.id}.{role}: {problem}")


def _connection(findings: Findings, site: SiteSection, device: DeviceSection, profile: DeviceProfile, at: Location) -> Connection | None:
    if profile.spec.transport == "mqtt":
        if device.connection or device.unit is not None:
            key = "connection" if device.connection else "unit"
            findings.wrong((*at, key), f"{device.id}: {profile.name} is read over MQTT", f"leave {key}: out and write topic:")
        if site.mqtt is None:
            text = f"{device.id}: {profile.name} is read over MQTT, but there is no broker"
            findings.wrong(at, text, "write mqtt: {broker: mqtt://localhost:1883}")
        return None
    if device.topic is not None:
        findings.wrong((*at, "topic"), f"{device.id}: {profile.name} is read over Modbus", "leave topic: out and write connection:")
    if device.connection is None:
        findings.wrong(at, f"{device.id}: 'connection' is missing", "write connection: tcp://192.168.1.9:502")
        return None
    try:
        return parse_connection(device.connection, profile)
    except ValueError as error:
        findings.wrong((*at, "connection"), f"{device.id}: {error}")
        return None


def _parameters(findings: Findings, device: DeviceSection, profile: DeviceProfile, at: Location) -> dict[str, str]:
    """The profile's parameters with the site file's values, and `topic` among them for MQTT."""
    known = profile.spec.parameters
    values = {name: spec.default for name, spec in known.items()}
    points = profile.spec.points.values()
    numbers = {(point.unit_id or "").strip("{}") for point in points} | {point.shift for point in points}
    for name, value in device.parameters.items():
        if name not in known:
            hint = nearest(name, known) or "the profile has none"
            findings.wrong((*at, "parameters", name), f"{device.id}: {profile.name} has no parameter {name!r}", hint)
        elif name in numbers and not (value.isascii() and value.isdigit() and int(value) < 256):
            findings.wrong((*at, "parameters", name), f"{device.id}: {name}: {value!r} is no number from 0 to 255", known[name].help)
        else:
            values[name] = value
    for name, filled in values.items():
        if filled is None:
            findings.wrong((*at, "parameters"), f"{device.id}: parameter {name!r} is missing", known[name].help)
    if profile.spec.transport == "mqtt":
        values["topic"] = device.topic or profile.spec.mqtt.topic
        if values["topic"] is None:
            findings.wrong(at, f"{device.id}: 'topic' is missing", "write topic: with the device's base topic")
        elif set("+#") & set(values["topic"]):
            findings.wrong((*at, "topic"), f"{device.id}: topic: holds a wildcard", "write the device's own base topic")
    return {name: filled for name, filled in values.items() if filled is not None}


def _check_lines(findings: Findings, site: SiteSection, setups: tuple[DeviceSetup, ...]) -> None:
    """Devices on one line must agree on how it is set; two with one unit and profile are one device written twice."""
    first: dict[str, DeviceSetup] = {}
    units: dict[tuple[str, int, str], str] = {}
    numbers = {device.id: number for number, device in enumerate(site.devices)}
    for setup in setups:
        if (connection := setup.connection) is None:
            continue
        at: Location = ("devices", numbers[setup.id], "connection")
        other = first.setdefault(connection.line, setup)
        if other.connection != connection:
            text = f"{setup.id}: is set to {connection}, but {other.id} on the same line to {other.connection}"
            findings.wrong(at, text, "one line has one setting")
        key = (connection.line, setup.unit, setup.profile.name)
        if units.setdefault(key, setup.id) != setup.id and not setup.parameters:
            findings.wrong(at, f"{setup.id}: reads the same unit {setup.unit} as {units[key]}", "give each its own unit:")


def _check_grids(findings: Findings, setups: tuple[DeviceSetup, ...]) -> None:
    grids = [setup.id for setup in setups if Role.GRID in _roles(setup)]
    if len(grids) > 1:
        hint = "if they measure the same connection, leave one out: roles: [pv, battery] on a hybrid, another role: on a meter"
        findings.warnings.append(f"several grid meters ({', '.join(grids)}) are added up; {hint}")


def _roles(setup: DeviceSetup) -> frozenset[Role]:
    if setup.role is not None:
        return frozenset({setup.role})
    return setup.profile.roles if setup.roles is None else setup.roles
