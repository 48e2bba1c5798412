"""From the site file to the settings of every floor."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from edge_agent.cloud import identity, vocabulary
from edge_agent.config.building import building_of, time_zone_of
from edge_agent.config.credentials import MQTT_CREDENTIAL, PACKAGED, client_secret, credential_file, secret_in, written_secrets
from edge_agent.config.findings import Findings
from edge_agent.config.house import devices_of
from edge_agent.config.schema import PLATFORM_INTERVAL_S, MoostSection, MqttSection, ReportingSection, SiteSection, StorageSection
from edge_agent.config.site import Site
from edge_agent.config.web import web_of
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.errors import ConfigError
from edge_agent.profiles.document import Document, Location, examine, read_document
from edge_agent.uplink.settings import MoostAccount, UploadSettings

_MISSING_HINT = "`edge-agent setup` writes one"
_PACKAGED = PACKAGED, Path("/var/lib/edge-agent")  # site file and state of a packaged installation


def load_site(path: Path, copy: Path | None = None) -> Site:
    """See `config.load_site`."""
    document = read_document(copy or path, _MISSING_HINT)
    if secrets := written_secrets(document):
        raise ConfigError(secrets)
    if document.data is None:
        raise ConfigError([document.problem((), "is empty", _MISSING_HINT)])
    section, findings = _sections(document, path.resolve(), (copy or path.resolve()).parent)
    account = _account(findings, section.moost) if section.moost is not _UNREADABLE else None
    zone = time_zone_of(findings, section)
    building = building_of(findings, section)
    _check_reporting(findings, section.reporting)
    web = web_of(findings, section.web)
    mqtt = _mqtt(findings, section.mqtt)
    devices = devices_of(findings, section)
    if findings.problems or account is None:
        raise ConfigError(sorted(findings.problems, key=lambda problem: (problem.file != document.file, problem.line)))
    reporting = section.reporting
    return Site(
        file=findings.path,
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
        upload=UploadSettings(section.upload.backfill_after, section.upload.batch_size, section.upload.verify),
        database=_state_folder(findings.path.parent) / section.storage.path,
        max_size=section.storage.max_size,
        mqtt=mqtt,
        web=web,
        devices=devices,
        warnings=tuple(findings.warnings),
    )


_UNREADABLE = MoostSection(customer_id="", building_id="", client_id="")  # stands for an account section with mistakes


def _sections(document: Document, path: Path, profiles: Path) -> tuple[SiteSection, Findings]:
    """The file as its schema. Where parts break it the rest is read all the same, so that all mistakes come at once."""
    section, mistakes = examine(document, SiteSection)
    if section is None and isinstance(document.data, dict):
        document = _without(document, mistakes)
        section, _ = examine(document, SiteSection)
    if section is None:
        raise ConfigError(sorted(mistakes.values(), key=lambda problem: problem.line))
    if any(location[:1] == ("moost",) for location in mistakes):
        section = replace(section, moost=_UNREADABLE)
    return section, Findings(document, path, profiles, list(mistakes.values()))


def _without(document: Document, mistakes: Iterable[Location]) -> Document:
    """The document without the sections and devices that have mistakes; its lines stay those of the file."""
    broken = {location[:2] if location[:1] == ("devices",) else location[:1] for location in mistakes}
    data = {key: value for key, value in document.data.items() if (key,) not in broken and key != "devices"}
    if ("moost",) in broken:
        data["moost"] = _UNREADABLE
    devices = document.data.get("devices")
    devices = devices if isinstance(devices, list) else []
    kept = [number for number in range(len(devices)) if ("devices", number) not in broken]
    data["devices"] = [devices[number] for number in kept]
    moved: dict[Location, Location] = {("devices", old): ("devices", new) for new, old in enumerate(kept)}
    lines = {location: line for location, line in document.lines.items() if location[:1] != ("devices",) or len(location) == 1}
    lines |= {moved[location[:2]] + location[2:]: line for location, line in document.lines.items() if location[:2] in moved}
    return Document(document.file, data, lines)


def database_of(path: Path) -> Path:
    """See `config.database_of`."""
    data = read_document(path, _MISSING_HINT).data
    storage = data.get("storage") if isinstance(data, dict) else None
    named = storage.get("path") if isinstance(storage, dict) else None
    return _state_folder(path.resolve().parent) / str(named or StorageSection().path)


def _state_folder(folder: Path) -> Path:
    """Where a relative `storage.path` begins: beside the site file, but for a packaged installation in its state folder.

    It does not come from the environment, so that the service and a command from a shell find the same queue.
    """
    return _PACKAGED[1] if folder == _PACKAGED[0] else folder


def _account(findings: Findings, moost: MoostSection) -> MoostAccount | None:
    checks = (
        ("customer_id", identity.customer_id_problem(moost.customer_id)),
        ("building_id", identity.building_id_problem(moost.building_id)),
        ("client_id", identity.client_id_problem(moost.client_id)),
    )
    for key, problem in checks:
        if problem:
            findings.wrong(("moost", key), f"moost.{key}: {problem}")
    url = _split(moost.base_url)
    if url.scheme not in ("https", "http") or not url.hostname or url.username or url.query:
        findings.wrong(("moost", "base_url"), f"moost.base_url: {moost.base_url!r} is no address", "write https://api.moost.io")
    elif url.scheme == "http" and url.hostname not in ("localhost", "127.0.0.1", "::1"):
        findings.wrong(("moost", "base_url"), "moost.base_url: the client secret would travel in the clear", "write https://")
    ca_file = _authority(findings, moost.ca_file, ("moost", "ca_file"))
    secret = client_secret(findings, moost)
    if secret is None:
        return None
    return MoostAccount(moost.base_url.rstrip("/"), moost.customer_id, moost.building_id, moost.client_id, secret, ca_file)


def _split(address: str) -> SplitResult:
    """An address in its parts, all empty for what is none."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:  # a port that is no number, brackets that hold no address
        return urlsplit("")
    return parts


def _authority(findings: Findings, name: str | None, at: Location) -> Path | None:
    """A file with certificates of an authority; a mistake when it holds none."""
    path = findings.file(name, at)
    if path is not None and path.is_file():
        try:
            ssl.create_default_context(cafile=path)
        except (OSError, ValueError) as error:
            findings.wrong(at, f"{'.'.join(map(str, at))}: {path} holds no certificate that can be used ({error})", "it takes a file in PEM format")
    return path


def _check_reporting(findings: Findings, reporting: ReportingSection) -> None:
    at: Location = ("reporting",)
    if reporting.interval < 1 or 86400 % reporting.interval:
        findings.wrong((*at, "interval"), f"reporting.interval: {reporting.interval:g} s does not divide a day", "write 15m")
    elif not reporting.interval.is_integer():
        findings.wrong((*at, "interval"), "reporting.interval: takes whole seconds", "write 15m")
    elif reporting.interval != PLATFORM_INTERVAL_S:
        findings.warnings.append(f"reporting.interval is {reporting.interval:g} s: the platform asks for one update every 15 minutes (15m)")
    if not 0.01 <= reporting.poll_interval <= reporting.interval:
        findings.wrong((*at, "poll_interval"), "reporting.poll_interval: is longer than the interval, or next to nothing", "write 10s")
    if problem := identity.device_id_problem(reporting.household_id):
        findings.wrong((*at, "household_id"), f"reporting.household_id: {problem}")
    if problem := identity.device_name_problem(reporting.household_name):
        findings.wrong((*at, "household_name"), f"reporting.household_name: {problem}")
    for status, number in reporting.status_ids.items():
        if not -1 <= number <= 4:
            findings.wrong((*at, "status_ids", status.value), f"reporting.status_ids.{status}: {number} is outside -1 to 4")


def _mqtt(findings: Findings, section: MqttSection | None) -> MqttSettings | None:
    if section is None:
        return None
    url = _split(section.broker)
    if url.scheme not in ("mqtt", "mqtts") or not url.hostname or url.path not in ("", "/"):
        findings.wrong(("mqtt", "broker"), "mqtt.broker: is no broker", "write mqtt://localhost:1883, or mqtts://host:8883")
        return None
    if url.username or url.password:
        findings.wrong(("mqtt", "broker"), "mqtt.broker: a password does not belong into this file", "write username: and password_file: instead")
        return None
    credential = credential_file(MQTT_CREDENTIAL) if section.username else None
    place = findings.path.parent / section.password_file if section.password_file else credential
    password = secret_in(findings, place, ("mqtt", "password_file")) if place else None
    return MqttSettings(
        host=url.hostname,
        port=url.port or (8883 if url.scheme == "mqtts" else 1883),
        tls=url.scheme == "mqtts",
        ca_file=_authority(findings, section.ca_file, ("mqtt", "ca_file")),
        username=section.username,
        password=password or "",
        client_id=section.client_id,
    )
