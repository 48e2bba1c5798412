"""Are the credentials accepted? One token and one look at the building; nothing is written to the cloud."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from edge_agent.model.clock import SystemClock
from edge_agent.model.errors import EdgeAgentError
from edge_agent.uplink.client import MoostClient
from edge_agent.uplink.settings import MoostAccount
from edge_agent.uplink.verdict import Kind, Verdict


@dataclass(frozen=True, slots=True)
class Proof:
    """What the cloud said: whether it knows the building."""

    building_is_known: bool


def prove(account: MoostAccount) -> Proof:
    """Asks the cloud. Raises EdgeAgentError with its words when it refuses the credentials or cannot be reached."""
    verdict = asyncio.run(_get_building(account))
    if verdict.accepted or verdict.kind is Kind.MISSING:
        return Proof(verdict.accepted)
    hint = "" if verdict.kind is Kind.UNAUTHORIZED else "; --offline sets the agent up without asking the cloud"
    raise EdgeAgentError(f"{verdict.reason}{hint}")


async def _get_building(account: MoostAccount) -> Verdict:
    client = MoostClient(account, SystemClock())
    try:
        return await client.get_building()
    finally:
        await client.close()
