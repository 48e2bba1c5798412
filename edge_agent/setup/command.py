"""`edge-agent setup`: account, credentials, building, devices; then the file, and the proof that it works."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_agent.balance_check import balance_text, watch_without_agent
from edge_agent.cloud import identity
from edge_agent.config import Site, load_site
from edge_agent.control import ask, asked
from edge_agent.model.errors import ConfigError, EdgeAgentError, Problem
from edge_agent.profiles.document import Document, read_document
from edge_agent.progress import progress
from edge_agent.scan.command import search, shipped_profiles
from edge_agent.scan.network import named_network, own_networks
from edge_agent.scan.running import Running, broker_settings, running_agent
from edge_agent.setup.devices import new_devices
from edge_agent.setup.outcome import Agent, Outcome
from edge_agent.setup.proof import prove
from edge_agent.setup.questions import Questions
from edge_agent.setup.secret import secret_file, secret_from, store_secret
from edge_agent.setup.site_text import Drafted, Sections, with_answers
from edge_agent.uplink.settings import MoostAccount

_BASE_URL = "https://api.moost.io"


def run(options: argparse.Namespace) -> int:
    """Asks, proves, writes, checks. 1 when the site file or the balance of the house shows a mistake."""
    try:
        outcome = _set_up(options)
    except ConfigError as error:
        if not options.json:
            raise
        _print_json({"file": str(options.config), "problems": [asdict(problem) for problem in error.problems]})
        return 1
    if not options.json:
        print("\n".join(outcome.lines()), flush=True)
    balance = _balance(outcome.site, options.seconds) if outcome.site.devices and options.seconds else None
    if options.json:
        _print_json(outcome.to_json(balance))
    elif balance is not None:
        print(balance_text(balance))
    return 1 if balance is not None and balance["wrong"] else 0


def _print_json(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, indent=2, ensure_ascii=False))


def _set_up(options: argparse.Namespace) -> Outcome:
    """All but the look at the balance."""
    questions = Questions.of_terminal(options.yes)
    path: Path = options.config
    if not path.parent.is_dir():
        raise EdgeAgentError(f"{path}: there is no folder {path.parent}")
    document = _document(path)
    questions.tell(f"{path}: {'is there; what you do not change stays as it is' if document else 'will be written'}")
    if questions.interactive:
        questions.tell("MOOST gives you the account: customer id, building id, client id and client secret. Ctrl-C ends this.")
    account, sections = _account(options, document, questions)
    known = _is_known(account, options, questions)
    sections |= _building(options, document, known, questions)
    devices, broker = _devices(options, document, questions)
    if broker and not _section(document, "mqtt").get("broker") and any("topic" in device.entry for device in devices):
        sections["mqtt"] = {"broker": broker}
    site = _written(path, sections, devices, account, document)
    return Outcome(path, site, devices, known, _told_agent(site))


def _document(path: Path) -> Document | None:
    """The file that is there; None for none. Raises ConfigError for one that is no site file."""
    document = read_document(path) if path.exists() else None
    if document is None or document.data is None:
        return document
    moost = document.data.get("moost") if isinstance(document.data, dict) else None
    for at, section in (((), document.data), (("moost",), moost)):
        if section is not None and not isinstance(section, dict):
            text = f"{''.join(at) or 'the file'}: should be a section of keys and values"
            raise ConfigError([document.problem(at, text, "mend it, or move the file away")])
    return document


def _section(document: Document | None, name: str) -> dict[str, Any]:
    section = document.data.get(name) if document is not None and isinstance(document.data, dict) else None
    return section if isinstance(section, dict) else {}


def _account(options: argparse.Namespace, document: Document | None, questions: Questions) -> tuple[MoostAccount, Sections]:
    """The account as answered, and the keys of `moost:` that say so."""
    now = _section(document, "moost")
    checks = {
        "customer_id": identity.customer_id_problem,
        "building_id": identity.building_id_problem,
        "client_id": identity.client_id_problem,
    }
    keys: dict[str, Any] = {}
    if options.base_url or options.ca_file:
        keys["base_url"] = options.base_url or now.get("base_url")
        keys["ca_file"] = str(Path(options.ca_file).resolve()) if options.ca_file else now.get("ca_file")
    for key, check in checks.items():
        words = key.replace("_", " ").replace(" id", "'s id")
        keys[key] = questions.text(f"{words}", f"--{key.replace('_', '-')}", getattr(options, key), str(now.get(key) or ""), check)
    place, name = secret_file(options.config.resolve(), now.get("client_secret_file"))
    there = place.is_file()
    secret = secret_from(options.client_secret_file, questions, there)
    keys["client_secret_file"] = name
    authority = keys.get("ca_file") or now.get("ca_file")
    account = MoostAccount(
        base_url=str(keys.get("base_url") or now.get("base_url") or _BASE_URL).rstrip("/"),
        customer_id=keys["customer_id"],
        building_id=keys["building_id"],
        client_id=keys["client_id"],
        client_secret=secret or place.read_text(encoding="utf-8").strip(),
        ca_file=options.config.resolve().parent / authority if authority else None,
    )
    return account, {"moost": keys}


def _is_known(account: MoostAccount, options: argparse.Namespace, questions: Questions) -> bool | None:
    """Whether the cloud knows the building; None when it was not asked."""
    if options.offline:
        return None
    proof = prove(account)
    questions.tell(
        "the cloud accepts the credentials" + ("" if proof.building_is_known else f"; it does not know building {account.building_id} yet")
    )
    return proof.building_is_known


def _building(options: argparse.Namespace, document: Document | None, known: bool | None, questions: Questions) -> Sections:
    """The `building:` section, asked for where the cloud has to be told of the building."""
    now = _section(document, "building")
    given = {key: getattr(options, key) for key in ("zip", "city", "country_code")}
    sections: Sections = {}
    if any(given.values()) or (known is False and not now):
        if known is False and not any(given.values()):
            questions.tell("so that the agent can register it:")
        keys = {
            key: questions.text(key.replace("_", " "), f"--{key.replace('_', '-')}", value, str(now.get(key) or "")) for key, value in given.items()
        }
        sections["building"] = keys
    if options.time_zone:
        sections["time_zone"] = options.time_zone
    return sections


def _devices(options: argparse.Namespace, document: Document | None, questions: Questions) -> tuple[list[Drafted], str]:
    """New devices, and the broker that was listened to."""
    if options.no_scan or not questions.yes("look for devices in the network", default=True):
        return [], ""
    running = _running(options.config)
    broker = (
        options.mqtt
        or running.broker
        or questions.text("an MQTT broker to listen on, such as mqtt://localhost:1883 (empty: none)", "--mqtt", None, required=False)
    )
    networks = [named_network(text) for text in options.network or ()] or own_networks()
    settings = (running.settings(broker) if running.broker else broker_settings(broker)) if broker else None
    library = shipped_profiles(running.remarks)
    extent = argparse.Namespace(units=(), ports=options.ports, seconds=300.0, wait=5.0)
    outcome = asyncio.run(search(extent, networks, settings, library, running))
    if outcome.interrupted:
        raise KeyboardInterrupt
    questions.tell(outcome.text(networks, options.ports, broker))
    return list(new_devices(outcome.found, document, library, questions)), broker


def _running(path: Path) -> Running:
    """What a running agent reads; a file that is faulty still says nothing against setting up anew."""
    try:
        return running_agent(path, path) if path.exists() else Running()
    except ConfigError:
        return Running()


def _written(path: Path, sections: Sections, devices: list[Drafted], account: MoostAccount, document: Document | None) -> Site:
    """The site file with the answers, checked. Raises ConfigError, with the file as it was, when `check` refuses it."""
    before = path.read_text(encoding="utf-8") if document is not None else None
    keys = sections["moost"]
    assert isinstance(keys, Mapping)
    place = path.resolve().parent / keys["client_secret_file"]
    secret_before = place.read_text(encoding="utf-8").strip() if place.is_file() else None
    if secret_before != account.client_secret:
        store_secret(place, account.client_secret)
    text = with_answers(before, sections, devices)
    if text != before:
        _replace(path, text)
    try:
        return load_site(path)
    except ConfigError as error:
        if all(problem.text.startswith("devices: there is none") for problem in error.problems):
            hint = "write one by hand (edge-agent profiles list), or run setup again with --network or --mqtt"
            raise ConfigError([Problem(str(path), 0, "is written, but it has no device yet", hint)]) from None
        if before is None:
            path.unlink()
        else:
            _replace(path, before)
        if secret_before is not None:
            store_secret(place, secret_before)
        where = Problem(str(path), 0, "was not written" if before is None else "stays as it was", "`check` would refuse what setup made of it:")
        raise ConfigError([where, *error.problems]) from None


def _replace(path: Path, text: str) -> None:
    """The file as a whole or not at all, with the owner and mode that it had."""
    made = path.with_name(f".{path.name}.new")
    try:
        made.unlink(missing_ok=True)  # the group may write here: root follows no link that stands in its way
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            like = (path if path.exists() else path.parent).stat()
            if os.geteuid() == 0:
                os.fchown(file.fileno(), like.st_uid, like.st_gid)
            os.fchmod(file.fileno(), like.st_mode & 0o777 if path.exists() else 0o640)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except OSError as error:
        made.unlink(missing_ok=True)
        raise EdgeAgentError(f"{path}: {error.strerror}; nothing was changed") from None


def _told_agent(site: Site) -> Agent:
    """A running agent takes the file over at once."""
    folder = site.database.parent
    answer = ask(folder, {"command": "reload"}) if folder.is_dir() else None
    return None if answer is None else "took it over" if answer["taken"] else "keeps the old one"


def _balance(site: Site, seconds: float) -> dict[str, Any]:
    print(f"watching the balance of the house for {seconds:g} s ...", file=sys.stderr)
    request = {"command": "balance", "seconds": seconds}
    with progress(seconds):
        return asked(site.database.parent, request, lambda: asyncio.run(watch_without_agent(site, seconds)), seconds + 60)
