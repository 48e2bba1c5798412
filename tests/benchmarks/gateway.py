"""What the agent costs beside the shortest straight line: CPU, memory, requests and start-up, polling 300 points a second.

Usage: gateway.py [--seconds 20] [--rounds 3] [--interval 15m]

Each case runs in a process of its own against the same simulated household and the same sink, in turn
(A B A B ...), and the medians are printed with their ratios. Only ratios carry over to another machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from edge_agent.codec.read_plan import plan
from edge_agent.config import load_site
from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID, LocalCloud
from edge_agent.drivers.modbus_plan import limits_of, locate

HERE = Path(__file__).parent
POINTS_PER_REQUEST = 30 / 4
FIRST_ROUND = 40  # requests until all 300 points have been read once
Figures = dict[str, float]


@contextmanager
def running(*command: str | Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block runs."""
    process = subprocess.Popen([str(part) for part in command], **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process, in seconds."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def memory_mib(pid: int) -> float:
    """Resident memory in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) / 1024


def measure(command: list[str | Path], stats: Path, seconds: float) -> Figures:
    """One run: time to the first 300 points, then CPU, memory and requests in a window."""

    def served() -> int:
        return int(struct.unpack("Q", stats.read_bytes()[:8])[0])

    before, began = served(), time.monotonic()
    with running(*command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while served() - before < FIRST_ROUND:
            if process.poll() is not None or time.monotonic() - began > 30:
                raise SystemExit(f"{command[0]} polls nothing: {process.stderr.read().decode() if process.stderr else ''}")
            time.sleep(0.002)
        start_s = time.monotonic() - began
        time.sleep(4)
        requests, cpu, opened = served(), cpu_seconds(process.pid), time.monotonic()
        time.sleep(seconds)
        wall = time.monotonic() - opened
        cpu, requests = cpu_seconds(process.pid) - cpu, served() - requests
        points = requests * POINTS_PER_REQUEST
        rss = memory_mib(process.pid)
        return {"start_s": start_s, "cpu_ms_per_1000_points": cpu * 1e6 / points, "rss_mib": rss, "requests_per_s": requests / wall}


def prepare(folder: Path, interval: str, cloud: LocalCloud) -> Path:
    """The household's site file in a folder of its own, sending to that cloud."""
    for file in (HERE / "household").glob("*.yaml"):
        shutil.copy(file, folder)
    (folder / "client-secret").write_text(CLIENT_SECRET)
    (folder / "client-secret").chmod(0o600)
    site = folder / "agent.yaml"
    text = site.read_text().replace("interval: 15m", f"interval: {interval}").replace("  ca_file: cert.pem\n", "")
    for old, new in (
        ("https://127.0.0.1:18445", cloud.url),
        ("customer_id: aaaaaaaaaaaaaaaaaaaaaaaa", f"customer_id: {CUSTOMER_ID}"),
        ("building_id: bench", f"building_id: {BUILDING_ID}"),
        ("client_id: bench", f"client_id: {CLIENT_ID}"),
    ):
        text = text.replace(old, new)
    site.write_text(text)
    return site


def blocks(site: Path) -> list[list[tuple[str, int, int]]]:
    """What the agent asks each device for, so that the straight line asks the same."""
    plans = []
    for setup in load_site(site).devices:
        registers, _ = locate(setup, setup.profile.spec, ())
        found = plan([register.span for register in registers.values()], limits_of(setup.profile.spec.modbus, ()))
        plans.append([(block.table, block.address, block.count) for block in found])
    return plans


@contextmanager
def sink() -> Iterator[str]:
    """Takes whatever the straight line posts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


def main() -> None:
    """Runs the cases in turn and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--interval", default="15m")
    options = parser.parse_args()
    results: dict[str, list[Figures]] = {"straight line": [], "edge-agent": []}
    top = Path(tempfile.mkdtemp(prefix="gateway-"))
    stats = top / "stats"
    try:
        with LocalCloud() as cloud, sink() as url, running(sys.executable, HERE / "simulator.py", stats, stdout=subprocess.PIPE) as simulator:
            assert simulator.stdout is not None
            simulator.stdout.readline()
            for number in range(options.rounds):
                for name in results:
                    folder = top / f"{number}-{name.replace(' ', '-')}"
                    folder.mkdir()
                    site = prepare(folder, options.interval, cloud)
                    if name == "edge-agent":
                        command: list[str | Path] = [Path(sys.executable).with_name("edge-agent"), "run", "--config", site]
                    else:
                        (folder / "blocks.json").write_text(json.dumps(blocks(site)))
                        command = [sys.executable, HERE / "straight_line.py", folder, url]
                    results[name].append(measure(command, stats, options.seconds))
    finally:
        shutil.rmtree(top, ignore_errors=True)
    report(results)


def report(results: dict[str, list[Figures]]) -> None:
    """The medians, and the agent's as multiples of the straight line's."""
    medians = {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in results.items()}
    print(f"{'':16}" + "".join(f"{key:>26}" for key in medians["straight line"]))
    for name, figures in medians.items():
        print(f"{name:16}" + "".join(f"{value:>26.3g}" for value in figures.values()))
    ratios = [medians["edge-agent"][key] / value for key, value in medians["straight line"].items()]
    print(f"{'ratio':16}" + "".join(f"{ratio:>26.2f}" for ratio in ratios), f"  ({os.cpu_count()} cores)")


if __name__ == "__main__":
    main()
