"""A cloud in a process of its own that counts instead of keeping: `sink.py [PORT]` prints its port; GET /report tells what came.

Half a million events as objects would be the measuring program's memory, and a strict cloud's work its time.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

seen: dict[tuple[str, str], int] = {}
report: dict[str, int | str] = {"first": "", "live": 0, "historical": 0, "disorder": 0}
lively = {dict: "live", list: "historical"}


def note(path: str, events: list[dict[str, object]] | dict[str, object]) -> None:
    """Counts what came; in the historical calls also what is not newer than what came before of its device and type."""
    call = lively[type(events)]
    report["first"] = report["first"] or path
    report[call] = int(report[call]) + (len(events) if isinstance(events, list) else 1)
    for event in events if isinstance(events, list) else ():
        key, at = (str(event["deviceId"]), str(event["type"])), event["timestamp"]
        assert isinstance(at, int)
        report["disorder"] = int(report["disorder"]) + (at <= seen.get(key, 0))
        seen[key] = at


class Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        self.answer(200, json.dumps(report if self.path == "/report" else {"access_token": "token", "token_type": "Bearer"}).encode())

    def do_POST(self) -> None:  # noqa: N802
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        note(self.path, events)
        self.answer(200 if isinstance(events, list) else 201)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Sink)
    print(server.server_address[1], flush=True)
    server.serve_forever()
