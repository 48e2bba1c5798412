"""The connection to the broker: it comes back by itself, says what is wrong in words, and tells no secret."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from edge_agent.codec.payloads import MAX_PAYLOAD_BYTES
from edge_agent.codec.topics import topic_filter
from edge_agent.drivers.mqtt_hub import Arrival, MqttHub
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.clock import SystemClock
from edge_agent.model.errors import ConfigError
from tests.conftest import Mosquitto, until
from tests.drivers.mqtt_device import MqttDevice

SECRET = "hunter2-and-more"
HubMaker = Callable[[MqttSettings], MqttHub]


@pytest.fixture
async def make_hub() -> AsyncIterator[HubMaker]:
    hubs: list[MqttHub] = []

    def make(settings: MqttSettings) -> MqttHub:
        hubs.append(MqttHub(settings, SystemClock()))
        return hubs[-1]

    yield make
    for hub in hubs:
        await hub.close()


def listen(hub: MqttHub, text: str = "house/#") -> list[Arrival]:
    heard: list[Arrival] = []
    hub.subscribe(topic_filter(text, {}), 1, heard.append)
    return heard


async def say(port: int, topic: str, payload: str | bytes, retain: bool = False) -> None:
    device = MqttDevice(port)
    await device.say(topic, payload, retain)
    device.close()


async def test_a_broker_that_comes_later_is_found(stopped_mosquitto: Mosquitto, make_hub: HubMaker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    hub = make_hub(MqttSettings("127.0.0.1", stopped_mosquitto.port))
    heard = listen(hub)
    await until(lambda: hub.last_error)
    assert hub.last_error == f"mqtt://127.0.0.1:{stopped_mosquitto.port}: connection refused; is the broker running?"
    assert not hub.connected
    stopped_mosquitto.start()
    await until(lambda: hub.connected)
    assert hub.last_error == ""
    await say(stopped_mosquitto.port, "house/power", "1")
    await until(lambda: heard)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("edge_agent")]
    assert len(lines) == 2, "one line when it goes, one when it is back"
    assert lines[0].endswith("trying again until it works")
    assert "connected again after" in lines[1]


async def test_a_restarted_broker_is_subscribed_to_again(mosquitto: Mosquitto, make_hub: HubMaker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    hub = make_hub(MqttSettings("127.0.0.1", mosquitto.port))
    changes: list[bool] = []
    hub.watch(changes.append)
    heard, others = listen(hub, "house/+/power"), listen(hub, "other/#")
    await until(lambda: hub.connected)
    await say(mosquitto.port, "house/1/power", "1", retain=True)
    await until(lambda: len(heard) == 1)
    mosquitto.stop()
    await until(lambda: not hub.connected)
    assert "connection was lost" in hub.last_error
    mosquitto.start()
    await until(lambda: hub.connected)
    await say(mosquitto.port, "house/1/power", "2", retain=True)
    await say(mosquitto.port, "other/x", "3")
    await until(lambda: len(heard) == 2 and others)
    assert [arrival.payload for arrival in heard] == [b"1", b"2"]
    assert changes == [True, False, True]
    assert len([record for record in caplog.records if record.name.startswith("edge_agent")]) == 2


async def test_a_healthy_connection_says_nothing(mosquitto: Mosquitto, make_hub: HubMaker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    hub = make_hub(MqttSettings("127.0.0.1", mosquitto.port))
    heard = listen(hub)
    await until(lambda: hub.connected)
    await say(mosquitto.port, "house/power", "1")
    await until(lambda: heard)
    await hub.close()
    assert [record for record in caplog.records if record.name.startswith("edge_agent")] == []


async def test_retained_and_live_are_told_apart(mosquitto: Mosquitto, make_hub: HubMaker) -> None:
    await say(mosquitto.port, "house/power", "1", retain=True)
    hub = make_hub(MqttSettings("127.0.0.1", mosquitto.port))
    heard = listen(hub)
    await until(lambda: heard)
    await say(mosquitto.port, "house/power", "2", retain=True)
    await until(lambda: len(heard) == 2)
    assert [(arrival.payload, arrival.retained) for arrival in heard] == [(b"1", True), (b"2", False)]
    assert abs(heard[1].at - time.time()) < 60


async def test_a_listener_that_comes_later_gets_the_retained_copy(mosquitto: Mosquitto, make_hub: HubMaker) -> None:
    await say(mosquitto.port, "house/power", "1", retain=True)
    hub = make_hub(MqttSettings("127.0.0.1", mosquitto.port))
    first = listen(hub)
    await until(lambda: first)
    second = listen(hub)
    await until(lambda: second)
    assert second[0].retained


async def test_who_unsubscribes_hears_no_more_and_others_do(mosquitto: Mosquitto, make_hub: HubMaker) -> None:
    hub = make_hub(MqttSettings("127.0.0.1", mosquitto.port))
    gone: list[Arrival] = []
    leave = gone.append
    hub.subscribe(topic_filter("house/#", {}), 0, leave)
    stays = listen(hub)
    await until(lambda: hub.connected)
    hub.unsubscribe(leave)
    await say(mosquitto.port, "house/power", "1")
    await until(lambda: stays)
    assert gone == []


async def test_a_burst_is_handed_over_in_order_and_whole(mosquitto: Mosquitto, make_hub: HubMaker) -> None:
    hub = make_hub(MqttSettings("127.0.0.1", mosquitto.port))
    heard = listen(hub)
    await until(lambda: hub.connected)
    device = MqttDevice(mosquitto.port)
    for number in range(300):
        await device.say(f"house/{number % 7}", str(number))
    await until(lambda: len(heard) == 300)
    device.close()
    assert [int(arrival.payload) for arrival in heard] == list(range(300))


async def test_what_comes_faster_than_it_is_read_is_bounded_and_told(
    mosquitto: Mosquitto, make_hub: HubMaker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.drivers.mqtt_hub._MAX_WAITING", 10)
    for number in range(50):
        await say(mosquitto.port, f"house/{number:02}", str(number), retain=True)
    hub = make_hub(MqttSettings("127.0.0.1", mosquitto.port))
    heard = listen(hub)
    await until(lambda: hub.connected)
    deadline = time.monotonic() + 10
    while len(hub._waiting) + hub._dropped < 40 and time.monotonic() < deadline:
        time.sleep(0.01)  # the loop is busy: nobody reads
    await until(lambda: heard)
    assert len(heard) <= 20
    assert "messages came faster than they could be read" in caplog.text


async def test_a_huge_payload_is_not_carried_around(mosquitto: Mosquitto, make_hub: HubMaker) -> None:
    hub = make_hub(MqttSettings("127.0.0.1", mosquitto.port))
    heard = listen(hub)
    await until(lambda: hub.connected)
    await say(mosquitto.port, "house/devices", b"x" * (MAX_PAYLOAD_BYTES + 1))
    await until(lambda: heard)
    assert (heard[0].payload, heard[0].length) == (b"", MAX_PAYLOAD_BYTES + 1)


# who may come in


async def with_password(broker: Mosquitto) -> None:
    file = broker.folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(file), "agent", SECRET], check=True, capture_output=True)
    broker.lines = ["allow_anonymous false", f"password_file {file}"]
    broker.start()


async def test_user_name_and_password_open_the_broker(stopped_mosquitto: Mosquitto, make_hub: HubMaker) -> None:
    await with_password(stopped_mosquitto)
    hub = make_hub(MqttSettings("127.0.0.1", stopped_mosquitto.port, username="agent", password=SECRET))
    listen(hub)
    await until(lambda: hub.connected)


@pytest.mark.parametrize(("username", "who"), [("agent", "user 'agent'"), ("", "a client without user name")])
async def test_a_refused_user_is_told_in_words(stopped_mosquitto: Mosquitto, make_hub: HubMaker, username: str, who: str) -> None:
    await with_password(stopped_mosquitto)
    hub = make_hub(MqttSettings("127.0.0.1", stopped_mosquitto.port, username=username, password="wrong-" + SECRET))
    listen(hub)
    await until(lambda: hub.last_error)
    assert f"the broker refuses {who}" in hub.last_error
    assert "check mqtt.username and its password file" in hub.last_error
    assert SECRET not in hub.last_error
    assert not hub.connected


async def test_the_password_is_in_no_text(stopped_mosquitto: Mosquitto, make_hub: HubMaker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await with_password(stopped_mosquitto)
    settings = MqttSettings("127.0.0.1", stopped_mosquitto.port, username="agent", password=SECRET)
    hub = make_hub(settings)
    listen(hub)
    await until(lambda: hub.connected)
    stopped_mosquitto.stop()
    await until(lambda: not hub.connected)
    assert SECRET not in f"{settings!r} {settings} {settings.url} {hub.last_error} {hub!r} {caplog.text}"
    assert caplog.text


# TLS


def authority(folder: Path, host: str = "127.0.0.1") -> Path:
    """A private authority and a certificate for the broker; gives the authority's file."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    (folder / "san").write_text(f"subjectAltName=IP:{host}\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
    ca = ["-x509", "-days", "2", "-subj", "/CN=house", "-addext", "keyUsage=critical,keyCertSign", "-keyout", "ca.key", "-out", "ca.pem"]
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *ca)
    openssl(
        "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=broker", "-keyout", "key.pem", "-out", "csr"
    )
    openssl("x509", "-req", "-days", "2", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "san", "-out", "cert.pem")
    return folder / "ca.pem"


def with_tls(broker: Mosquitto, host: str = "127.0.0.1") -> Path:
    ca = authority(broker.folder, host)
    broker.lines += [f"certfile {broker.folder / 'cert.pem'}", f"keyfile {broker.folder / 'key.pem'}"]
    broker.start()
    return ca


async def test_a_broker_with_a_private_authority(stopped_mosquitto: Mosquitto, make_hub: HubMaker) -> None:
    ca = with_tls(stopped_mosquitto)
    hub = make_hub(MqttSettings("127.0.0.1", stopped_mosquitto.port, tls=True, ca_file=ca))
    listen(hub)
    await until(lambda: hub.connected or hub.last_error)
    assert hub.last_error == ""
    assert hub.settings.url == f"mqtts://127.0.0.1:{stopped_mosquitto.port}"


# paho leaves the socket of a failed handshake to the garbage collector
leaves_socket = pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")


@leaves_socket
async def test_an_unknown_authority_is_not_trusted(stopped_mosquitto: Mosquitto, make_hub: HubMaker) -> None:
    with_tls(stopped_mosquitto)
    hub = make_hub(MqttSettings("127.0.0.1", stopped_mosquitto.port, tls=True))
    listen(hub)
    await until(lambda: hub.last_error)
    assert "its certificate is not trusted" in hub.last_error
    assert "check mqtt.ca_file" in hub.last_error


@leaves_socket
async def test_a_certificate_for_another_host_is_not_trusted(stopped_mosquitto: Mosquitto, make_hub: HubMaker) -> None:
    ca = with_tls(stopped_mosquitto, host="10.1.2.3")
    hub = make_hub(MqttSettings("127.0.0.1", stopped_mosquitto.port, tls=True, ca_file=ca))
    listen(hub)
    await until(lambda: hub.last_error)
    assert "its certificate is not trusted" in hub.last_error
    assert not hub.connected


async def test_a_file_that_is_no_authority_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    hub = MqttHub(MqttSettings("127.0.0.1", 1, tls=True, ca_file=tmp_path / "ca.pem"), SystemClock())
    with pytest.raises(ConfigError, match="cannot be used as the certificate authority"):
        listen(hub)


# what else may be there instead of a broker


async def test_a_name_that_is_not_known_is_told(make_hub: HubMaker) -> None:
    hub = make_hub(MqttSettings("no-such-host.invalid"))
    listen(hub)
    await until(lambda: hub.last_error, within_s=30)
    assert hub.last_error.startswith("mqtt://no-such-host.invalid:1883: ")
    assert hub.last_error.endswith("check the address")


async def test_something_else_that_listens_is_no_broker_and_is_told_once(make_hub: HubMaker, caplog: pytest.LogCaptureFixture) -> None:
    tries: list[str] = []

    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tries.append(hub.last_error)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(chatter, "127.0.0.1", 0)
    hub = make_hub(MqttSettings("127.0.0.1", server.sockets[0].getsockname()[1]))
    listen(hub)
    await until(lambda: len(tries) == 3)
    assert tries[1], "the first try is over when the second comes"
    assert not hub.connected
    assert len([record for record in caplog.records if record.name.startswith("edge_agent")]) == 1
    await hub.close()
    server.close()


async def test_closing_does_not_wait_for_a_host_that_never_answers(make_hub: HubMaker) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        full = socket.create_connection(silent.getsockname())  # fills the queue: a further connect gets no answer
        hub = make_hub(MqttSettings("127.0.0.1", silent.getsockname()[1]))
        listen(hub)
        await asyncio.wait_for(hub.close(), 4)
        full.close()


async def test_a_filter_that_the_broker_refuses_is_named(make_hub: HubMaker, caplog: pytest.LogCaptureFixture) -> None:
    async def strict_broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(2):
            body = await reader.readexactly(head[1])
            if head[0] >> 4 == 1:
                writer.write(b"\x20\x02\x00\x00")  # CONNACK: welcome
            if head[0] >> 4 == 8:
                writer.write(b"\x90\x04" + body[:2] + b"\x00\x80")  # SUBACK: the first yes, the second no
        writer.close()

    server = await asyncio.start_server(strict_broker, "127.0.0.1", 0)
    hub = make_hub(MqttSettings("127.0.0.1", server.sockets[0].getsockname()[1], username="agent"))
    listen(hub, "house/#")
    listen(hub, "secret/#")
    await until(lambda: "refuses" in caplog.text)
    assert "the broker refuses to hand out secret/#; check its access list for user 'agent'" in caplog.text
    await hub.close()
    server.close()
