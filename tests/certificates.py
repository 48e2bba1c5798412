"""Certificates as a private authority makes them, from openssl; of any time."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from edge_agent.demo.cloud import LocalCloud

NAMES = "DNS:cloud.test,IP:127.0.0.1,IP:::1"
_CONFIG = """
[ca]
default_ca = authority
[authority]
database = {folder}/index.txt
new_certs_dir = {folder}
default_md = sha256
policy = any
rand_serial = yes
[any]
commonName = supplied
[names]
basicConstraints = critical,CA:TRUE
subjectAltName = {names}
"""


def certificate(folder: Path, start: str = "20200101000000Z", end: str = "20990101000000Z", names: str = NAMES) -> Path:
    """A certificate that is its own authority, valid from `start` to `end`; its key lies beside it, as `.key`."""
    if shutil.which("openssl") is None:
        reason = "openssl is not installed (apt-get install openssl)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder.mkdir(exist_ok=True)
    path, key, config = folder / "cloud.pem", folder / "cloud.key", folder / "openssl.cnf"
    config.write_text(_CONFIG.format(folder=folder, names=names))
    (folder / "index.txt").write_text("")
    request = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=cloud.test"
    _run(*request.split(), "-keyout", str(key), "-out", str(folder / "request.pem"))
    sign = "openssl ca -batch -notext -selfsign -extensions names"
    files = ("-config", str(config), "-keyfile", str(key), "-in", str(folder / "request.pem"), "-out", str(path))
    _run(*sign.split(), *files, "-startdate", start, "-enddate", end)
    return path


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def speak_tls(cloud: LocalCloud, pem: Path) -> int:
    """Makes a running cloud speak TLS with that certificate; gives its port."""
    assert cloud._server is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, pem.with_suffix(".key"))
    # the handshake belongs to the connection's own thread: who does not shake hands must not stop the others
    cloud._server.socket = context.wrap_socket(cloud._server.socket, server_side=True, do_handshake_on_connect=False)
    port: int = cloud._server.server_address[1]
    return port
