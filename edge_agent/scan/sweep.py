"""Goes through the hosts of a network: few at once, each only for a while, and no longer than agreed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from edge_agent.scan.found import Found
from edge_agent.scan.modbus import PortScan

AT_ONCE = 16  # hosts, each with one connection: with those that are just closing never more than 32
Progress = Callable[[int, int, int], None]  # hosts done, hosts in all, devices found


@dataclass
class Sweep:
    """What has been found so far; stays readable when the sweep is cut short."""

    found: list[Found] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    done: int = 0

    async def run(
        self, scan: PortScan, hosts: Sequence[str], ports: Sequence[int], spared: Collection[tuple[str, int]] = (), progress: Progress | None = None
    ) -> None:
        """Examines these ports of these hosts, without those that are `spared`."""
        waiting = iter(hosts)

        async def work() -> None:
            for host in waiting:
                await self._examine(scan, host, [port for port in ports if (host, port) not in spared])
                self.done += 1
                if progress is not None:
                    progress(self.done, len(hosts), len(self.found))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(hosts))):
                group.create_task(work())

    async def _examine(self, scan: PortScan, host: str, ports: Iterable[int]) -> None:
        try:
            async with asyncio.timeout(scan.pace.host_s):
                for port in ports:
                    await scan.examine(host, port, self.found)
        except TimeoutError:
            self.remarks.append(f"{host} was left after {scan.pace.host_s:g} s; name it alone to see whether it has more, or give --units")
