"""After every kind of failure, with a cloud that repeats what it was sent: the secret and the tokens stand nowhere."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import socket
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

import pytest

from edge_agent.demo.cloud import Answer, Drop, Fault, LocalCloud, Request
from tests.conftest import free_port, until
from tests.end_to_end.gateway import Gateway, meter, running
from tests.fault_proxy import Harm, faulty_line
from tests.simulators import RegisterServer

SECRET = "S3cret-with_72bits"
PROXY_PASSWORD = "prøxy-p@ss"


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(client_secret=SECRET, port=free_port()) as cloud:
        yield cloud


def spellings(secret: str) -> set[str]:
    """A secret as it may stand in a log, a URL, JSON or a page."""
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret), json.dumps(secret)[1:-1]}


class Repeating:
    """An answer that repeats the request's URL, headers and body, as an error page does."""

    def __init__(self, status: int, kind: str = "text") -> None:
        self.status, self.kind = status, kind

    def answer(self, request: Request) -> Answer:
        said = f"{request.method} {request.path}?{urlencode(request.query)} {dict(request.query)} {dict(request.headers)} {request.body[:200]!r}"
        bodies = {
            "text": said.encode(),
            "page": f"<html><p>{html.escape(said)}</p></html>".encode(),
            "map": json.dumps({"0": said, said: "1"}).encode(),
        }
        return Answer(self.status, bodies[self.kind], {"Content-Type": "text/html" if self.kind == "page" else "application/json"})


REPEATING = [
    *(Repeating(status, "text") for status in (200, 201, 400, 413, 500)),
    *(Repeating(status, "map") for status in (400, 401, 404, 429)),
    *(Repeating(status, "page") for status in (200, 403, 502)),
]
FAULTS: list[Fault] = [Drop(), Drop(after_storing=True), Answer(302, headers={"Location": "/elsewhere"}), Answer(500, stored=1)]


async def fail_in_every_way(cloud: LocalCloud) -> None:
    """Each failure once for the token's call and once for an event's; something is accepted between them, so that no back-off grows."""
    left: list[tuple[str, Repeating | Fault]] = [(path, one) for one in [*REPEATING, *FAULTS] for path in ("/auth/", "/events/v1")]
    accepted = -1

    def fault(request: Request) -> Fault | None:
        nonlocal accepted
        if not left or len(cloud.events) <= accepted:
            return None
        if not request.path.startswith(left[0][0]):
            cloud.revoke_tokens()  # so that the token's call comes again
            return None
        _, chosen = left.pop(0)
        accepted = len(cloud.events)
        return chosen.answer(request) if isinstance(chosen, Repeating) else chosen

    cloud.fault = fault
    await until(lambda: not left, 120)
    cloud.fault = lambda request: None
    known = len(cloud.events)
    await until(lambda: len(cloud.events) > known, 60)


def window(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return str(answer.read(), "utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return str(error.read(), "utf-8", "replace")


def asked(folder: Path, request: bytes) -> str:
    """What the commands' socket answers to these bytes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(30)
        line.connect(str(folder / "edge-agent.sock"))
        line.sendall(request + b"\n")
        return line.makefile("rb").readline().decode()


async def every_window(gateway: Gateway, port: int) -> dict[str, str]:
    """All that the agent shows, by where."""
    shown = {}
    for arguments in (
        ["status"], ["status", "--json"], ["queue"], ["queue", "stats", "--json"], ["queue", "list", "--json"], ["queue", "dead", "--json"],
        ["read", "--json"], ["check"], ["verify"], ["support-bundle", str(gateway.folder / "bundle.tar.gz")],
    ):  # fmt: skip
        _, out, errors = await gateway.command(*arguments)
        shown[" ".join(arguments)] = out + errors
    for path in ("/", "/metrics", "/healthz", "/api/status", "/api/charts", "/api/dead", "/nowhere"):
        shown[path] = await asyncio.to_thread(window, port, path)
    for request in (b'{"command": "status"}', b'{"command": "queue", "action": "nonsense"}', b'{"command": "no"}', b"nonsense"):
        shown[request.decode()] = await asyncio.to_thread(asked, gateway.folder / "state", request)
    with tarfile.open(gateway.folder / "bundle.tar.gz") as bundle:
        for member in bundle.getmembers():
            content = bundle.extractfile(member)
            shown[f"bundle {member.name}"] = content.read().decode("utf-8", "replace") if content else ""
    return shown


async def test_after_every_kind_of_failure_no_secret_stands_anywhere(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    (gateway.folder / "client-secret").write_text(SECRET)
    port = free_port()
    async with faulty_line(int(cloud.url.rpartition(":")[2])) as line:
        gateway.write_site([meter(meter_server)], web=f"{{listen: '127.0.0.1:{port}'}}", upload="{batch_size: 5}")
        gateway.site.write_text(gateway.site.read_text().replace(cloud.url, line.url))
        environment = {"HTTPS_PROXY": f"http://user:{quote(PROXY_PASSWORD)}@127.0.0.1:9", "EDGE_AGENT_DEBUG": "1"}
        async with running(gateway, environment):
            await until(lambda: cloud.events, 30)
            for harm in Harm:
                line.harm = harm
                line.hang_up()
                await asyncio.sleep(0.6)
            line.harm = Harm.NONE
            await fail_in_every_way(cloud)
            shown = await every_window(gateway, port)
            await gateway.stop()
    tokens = {request.headers.get("authorization", "").removeprefix("Bearer ") for request in cloud.requests} - {""}
    assert len(tokens) > 10
    secrets = [*spellings(SECRET), *spellings(PROXY_PASSWORD), base64.b64encode(f"user:{PROXY_PASSWORD}".encode()).decode(), *tokens]
    files = {str(path): path.read_bytes() for path in gateway.folder.rglob("*") if path.is_file() and path.name != "client-secret"}
    assert any(name.endswith(".db") for name in files)
    assert not [path for path in (gateway.folder / "state").iterdir() if path.stat().st_mode & 0o007], "something is open to everyone"
    assert "stopped" in gateway.logged
    everything = files | {name: text.encode() for name, text in shown.items()}
    found = [(name, secret) for name, content in everything.items() for secret in secrets if secret.encode() in content]
    assert not found, found
    assert "***" in gateway.logged, "something was masked, so something was repeated"
