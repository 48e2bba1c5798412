"""What the agent on this machine already reads: shown from its own answer, so that its devices are not asked by a second client."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_agent.config import Site, load_site
from edge_agent.control import ask
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.errors import ConfigError, EdgeAgentError
from edge_agent.profiles.document import Document, read_document
from edge_agent.scan.found import RUNNING, Found


@dataclass
class Running:
    """The site file that was found, if any, and what the agent that runs on it reads."""

    site: Site | None = None
    document: Document | None = None
    devices: list[Found] = field(default_factory=list)
    lines: set[tuple[str, int]] = field(default_factory=set)  # host and port that a scan must not touch
    remarks: list[str] = field(default_factory=list)

    @property
    def broker(self) -> str:
        """The site file's broker; empty when there is none."""
        return self.site.mqtt.url if self.site is not None and self.site.mqtt is not None else ""

    def settings(self, broker: str) -> MqttSettings:
        """How to log in to a broker: as the site file says where it is the same. Raises EdgeAgentError for what is no broker."""
        own = self.site.mqtt if self.site is not None else None
        if own is not None and own.url == broker:
            return replace(own, client_id="")  # a name of its own, or the broker would throw the agent out
        return broker_settings(broker)

    def reads(self, one: Found) -> bool:
        """Whether the agent reads this device over MQTT."""
        return any(held.topic and held.topic == one.topic and set(held.profiles) & set(one.profiles) for held in self.devices)


def broker_settings(text: str) -> MqttSettings:
    """`mqtt://host:1883` or `mqtts://host`, without a password."""
    try:
        url = urlsplit(text if "://" in text else f"mqtt://{text}")
        port = url.port
    except ValueError:  # a port that is no number, brackets that hold no address
        url, port = urlsplit(""), None
    if url.scheme not in ("mqtt", "mqtts") or not url.hostname or url.path not in ("", "/"):
        raise EdgeAgentError(f"--mqtt: {text!r} is no broker; write mqtt://localhost:1883, or mqtts://host:8883")
    if url.username or url.password:
        raise EdgeAgentError("--mqtt: a password does not belong on the command line; give a site file with mqtt: username and password_file")
    return MqttSettings(url.hostname, port or (8883 if url.scheme == "mqtts" else 1883), tls=url.scheme == "mqtts")


def running_agent(named: Path | None, usual: Path) -> Running:
    """What the agent of a site file reads. Raises ConfigError for a faulty file that was named; the usual one may be missing or faulty."""
    path = named or usual
    if named is None and not usual.exists():
        return Running()
    try:
        site = load_site(path)
    except ConfigError as error:
        if named is not None:
            raise
        return Running(remarks=[f"{usual} is not used: {error.problems[0].text}"])
    running = Running(site, read_document(path))
    folder = site.database.parent
    answer = ask(folder, {"command": "read", "device": ""}) if folder.is_dir() else None
    if answer is not None:
        _take(running, site, answer["devices"])
    return running


def _take(running: Running, site: Site, devices: list[dict[str, Any]]) -> None:
    profiles = {setup.profile.name: setup.profile for setup in site.devices}
    for device in devices:
        profile = profiles.get(device["profile"])
        identity = profile.spec.identity if profile is not None else None
        known = (point["value"] for point in device["points"] if point["point"] == identity and point["value"] is not None)
        serial = str(next(known, "")).removesuffix(".0")
        address, _, unit = str(device["address"]).rpartition(" unit ")
        topic = "" if address else str(device["address"]).removeprefix("topic ")
        running.devices.append(
            Found(
                address=address or f"topic {topic}",
                unit=int(unit) if address else None,
                what=device["name"],
                serial=serial,
                profiles=(device["profile"],),
                confidence=RUNNING,
                topic=topic,
                device_id=device["id"],
            )
        )
        running.lines |= _line(address)
    if running.lines:
        held = ", ".join(sorted(f"{host}:{port}" for host, port in running.lines))
        running.remarks.append(f"The agent is running: its devices are shown as it reads them, and {held} was not asked by the scan.")


def _line(address: str) -> set[tuple[str, int]]:
    """A TCP line as the addresses that its host has."""
    url = urlsplit(address)
    if not url.hostname or not url.port:
        return set()
    try:
        return {(str(found[4][0]), url.port) for found in socket.getaddrinfo(url.hostname, url.port, socket.AF_INET, socket.SOCK_STREAM)}
    except OSError:  # a name that is not known now: nothing can be found at it either
        return set()
