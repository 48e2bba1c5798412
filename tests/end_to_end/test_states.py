"""What is sent when it changes: a heater's status from its register to the cloud, through silence and a restart."""

from __future__ import annotations

from edge_agent.demo.cloud import LocalCloud
from tests.conftest import until
from tests.end_to_end.gateway import Gateway, running
from tests.simulators import RegisterServer, serving

PROFILE = """\
vendor: ACME
kind: heat_pump
transport: modbus
role: heat_pump
offline_after: 1s
points:
  state: {holding: 10, as: u16, is: status, map: {0: "off", 1: ready, 2: running, 4: fault}}
"""
IDS = {"off": 0, "ready": 3, "running": 2, "fault": 4, "offline": -1}


async def test_status_is_sent_once_per_change_with_the_numbers_of_the_site_file(gateway: Gateway, cloud: LocalCloud) -> None:
    (gateway.folder / "heater.yaml").write_text(PROFILE)

    def sent() -> list[float]:
        return [event["value"] for event in cloud.received() if event["type"] == "DEVICE_STATUS"]

    async def settles(server: RegisterServer, code: int, *expected: str) -> None:
        await server.put(1, "holding", 10, code)
        await until(lambda: sent() == [IDS[word] for word in expected], 30)

    async with serving({1: {"holding": {10: [2]}}}) as heater:
        port = heater.port
        gateway.write_site(
            [f'{{id: heater, name: Heater, profile: ./heater.yaml, connection: "tcp://127.0.0.1:{port}"}}'],
            reporting="{interval: 2s, poll_interval: 250ms, status_ids: {ready: 3}}",
        )
        async with running(gateway):
            await settles(heater, 2, "running")
            await settles(heater, 1, "running", "ready")
            await heater.put(1, "holding", 10, 9)
            await until(lambda: "heater: state: '9' is not in the profile's list (raw 0x0009)" in gateway.logged)
            await heater.put(1, "holding", 10, 1)
            await heater.stop()
            await until(lambda: sent()[-1] == -1, 30)
            async with serving({1: {"holding": {10: [4]}}}, port=port) as repaired:
                await settles(repaired, 4, "running", "ready", "offline", "fault")
                await gateway.stop()
        async with serving({1: {"holding": {10: [4]}}}, port=port) as same, running(gateway):
            await settles(same, 4, "running", "ready", "offline", "fault", "fault")
            await gateway.stop()
    assert gateway.logged.count("is not in the profile's list") == 1
