"""A Debian that really boots, with systemd as its first process: what installing, upgrading and power cuts are tested on.

The trees (bookworm, trixie) are made once and cached outside the checkout ($EDGE_AGENT_CACHE, else ~/.cache/edge-agent-tests).
A machine is such a tree under a writable layer in memory: it boots in a second or two, keeps its disk over a power cut,
and leaves nothing behind. Its network is its own loopback. Needs root, systemd-container and mmdebstrap.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RELEASES = ("bookworm", "trixie")
_TOOLS = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "nsenter": "util-linux"}
_PACKAGES = "systemd,systemd-sysv,dbus,init-system-helpers,ca-certificates,python3,tzdata,libfaketime"
_MACHINE_ID = "0123456789abcdef0123456789abcdef"


def need_booted_systems() -> None:
    """Skips the test where nothing can boot; in CI that is a failure."""
    missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    reason = f"not installed: {', '.join(missing)}" if missing else "booting a system needs root" if os.geteuid() else ""
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def cache_folder() -> Path:
    """Where trees are kept between runs, outside the checkout."""
    folder = Path(os.environ.get("EDGE_AGENT_CACHE") or Path.home() / ".cache" / "edge-agent-tests")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def debian_mirror() -> str:
    """The mirror that this machine installs from."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(ORIGIN)", "Created-By: Packages"],
        text=True,
        capture_output=True,
        check=True,
    )
    for line in listed.stdout.splitlines():
        uri, codename, origin = line.split(" ", 2)
        if origin == "Debian" and "security" not in codename and "security" not in uri:
            return uri
    return "http://deb.debian.org/debian"


def tree(release: str) -> Path:
    """A minimal Debian of that release, made at the first call and when its list of packages changes."""
    recipe = hashlib.sha256(_PACKAGES.encode()).hexdigest()[:8]
    folder = cache_folder() / f"{release}-{recipe}"
    with (cache_folder() / f"{release}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs, one tree
        if not folder.is_dir():
            _make_tree(release, folder)
    return folder


def _make_tree(release: str, folder: Path) -> None:
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", release, str(unfinished), debian_mirror()]
    made = subprocess.run(command, text=True, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    (unfinished / "etc/resolv.conf").unlink(missing_ok=True)
    (unfinished / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (unfinished / "etc/machine-id").write_text(f"{_MACHINE_ID}\n")  # without one, systemd takes every boot for the first
    (unfinished / "etc/apt/sources.list").unlink(missing_ok=True)  # nothing outside is there
    unfinished.rename(folder)


class Machine:
    """One booted system. Its disk outlives `power_cut` and `stop`, until the context of `machine` ends."""

    def __init__(self, root: Path, binds: dict[Path, str]) -> None:
        self.root = root
        self._binds = binds
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._cgroup = _cgroup_of_this_process() / f"edge-{os.getpid()}-{root.parent.parent.name}-{root.parent.name}"

    def boot(self, *options: str, within_s: float = 120) -> None:
        """Starts the system and waits until systemd has started everything. `options` are for systemd-nspawn."""
        self.switch_on(*options)
        state = self.wait_for("systemctl is-system-running | grep -E 'running|degraded'", within_s)
        assert state.strip() in ("running", "degraded")

    def switch_on(self, *options: str, within_s: float = 120) -> None:
        """Starts the system and waits only until commands can be run."""
        command = ["systemd-nspawn", "--quiet", "--directory", str(self.root), "--machine", f"edge-{os.getpid()}-{self.root.parent.name}", "--boot"]
        command += ["--register=no", "--keep-unit", "--console=pipe", "--private-network"]
        command += ["--system-call-filter=bpf"]  # without it DeviceAllow= of the services inside is silently not enforced
        command += [*(f"--bind-ro={host}:{inside}" for host, inside in self._binds.items()), *options]
        with (self.root.parent / "console").open("ab") as console:
            environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
            self._cgroup.mkdir()  # of its own: in a shared one the systemds of two machines stop each other's services
            command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._cgroup / "cgroup.procs"), *command]
            self._nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment)
        deadline = time.monotonic() + within_s
        while not (self._find_leader() and self.run("systemctl is-system-running", check=False).stdout.strip() not in ("", "offline", "unknown")):
            assert time.monotonic() < deadline, f"does not boot: {self.console()[-2000:]}"
            assert self._nspawn.poll() is None, f"systemd-nspawn ended: {self.console()[-2000:]}"
            time.sleep(0.1)

    def _find_leader(self) -> bool:
        assert self._nspawn is not None
        try:
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
            self._leader = next(int(child) for child in children if Path(f"/proc/{child}/comm").read_text().strip() == "systemd")
        except (OSError, StopIteration):
            return False
        return True

    def console(self) -> str:
        """What the system said while it booted."""
        return (self.root.parent / "console").read_text(errors="replace")

    def run(self, command: str, *, check: bool = True, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Runs a shell command inside as root; with `check` a failure is an assertion with its output."""
        inside = [
            "nsenter",
            "--target",
            str(self._leader),
            "--all",
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LC_ALL=C.UTF-8",
        ]
        done = subprocess.run(
            [*inside, "sh", "-c", command], text=True, capture_output=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
        )
        assert not check or done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def wait_for(self, command: str, within_s: float = 120) -> str:
        """Repeats a command until it succeeds; its output."""
        deadline = time.monotonic() + within_s
        while (done := self.run(command, check=False)).returncode:
            if time.monotonic() > deadline:
                journal = self.run("journalctl -b -n 100 -o short-monotonic --no-pager", check=False).stdout
                raise AssertionError(f"not within {within_s:g} s: {command}\n{done.stdout}{done.stderr}\n{journal}")
            time.sleep(0.2)
        return done.stdout

    def power_cut(self) -> None:
        """Every process dies at once; the disk stays as it is."""
        assert self._nspawn is not None
        for pid in (self._leader, self._nspawn.pid):
            _kill(pid)
        self._nspawn.wait(30)
        self._nspawn = None
        deadline = time.monotonic() + 30
        while not _removed(self._cgroup):
            assert time.monotonic() < deadline, f"processes are left in {self._cgroup}"
            time.sleep(0.02)

    def stop(self) -> None:
        """Switches off, if it is on; nothing inside is asked."""
        if self._nspawn is not None:
            self.power_cut()


def _cgroup_of_this_process() -> Path:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    mounted = next(fields[1] for fields in mounts if fields[2] == "cgroup2")
    own = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    return Path(mounted) / own.lstrip("/")


def _removed(cgroup: Path) -> bool:
    """Removes a cgroup without processes and all below it."""
    try:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(folder)
    except OSError:
        return False
    return True


def _kill(pid: int) -> None:
    """Kills one process; it may be gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def machine(release: str, folder: Path, binds: dict[Path, str] | None = None) -> Iterator[Machine]:
    """A system that is switched off, its disk fresh from the tree; `binds` are host folders seen inside, read-only."""
    layer = folder / release
    layer.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g,mode=755", "edge-agent-test", str(layer)], check=True)
    try:
        for name in ("upper", "work", "root"):
            (layer / name).mkdir()
        options = f"lowerdir={tree(release)},upperdir={layer}/upper,workdir={layer}/work"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "edge-agent-test", str(layer / "root")], check=True)
        system = Machine(layer / "root", binds or {})
        try:
            yield system
        finally:
            system.stop()
            subprocess.run(["umount", "--recursive", str(layer / "root")], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(layer)], check=True)
