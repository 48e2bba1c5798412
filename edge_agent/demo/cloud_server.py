"""The local cloud's HTTP: keep-alive connections on loopback that can be cut at any moment, with faults put in."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from edge_agent.demo.exchange import Answer, Drop, Fault, Request, Slow, parse

if TYPE_CHECKING:
    from edge_agent.demo.cloud import LocalCloud


class CloudServer(ThreadingHTTPServer):
    """Serves each connection in a thread, and can close them all."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        self._serving: list[threading.Thread] = []
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._serving = [thread for thread in self._serving if thread.is_alive()]
        self._open.add(request)
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), name="local cloud connection", daemon=True)
        self._serving.append(thread)
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is none of the cloud's business; anything else is a fault of ours and is printed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        """Ends what is open, and waits until its threads have."""
        for one in list(self._open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it went by itself meanwhile
        for thread in self._serving:
            thread.join(2)


def handler_of(cloud: LocalCloud) -> type[BaseHTTPRequestHandler]:
    """What reads the requests to a cloud and writes its answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 65536

        def log_message(self, format: str, *args: Any) -> None:
            """Silent: a request line holds the client secret."""

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            address = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, address.path, dict(parse_qsl(address.query)), headers, body, cloud.now())
            cloud.note(request)
            self._respond(request, cloud.fault(request))

        def _respond(self, request: Request, fault: Fault | None) -> None:
            if isinstance(fault, Drop):
                if fault.after_storing:
                    cloud.answer(request)
                self.close_connection = True
                return
            if isinstance(fault, Slow):
                time.sleep(fault.seconds)
            if isinstance(fault, Answer):
                if fault.stored:
                    cloud.keep(parse(request)[: fault.stored], "historical")
                self._send(fault)
            else:
                self._send(cloud.answer(request))

        def _send(self, answer: Answer) -> None:
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            headers = {"Content-Type": "application/json", **answer.headers} if body else answer.headers
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve

    return Handler
