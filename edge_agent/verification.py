"""`edge-agent verify`: what the platform counted against what was sent, asked of the running agent, else done under its lock."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import TYPE_CHECKING, Any

from edge_agent.model.errors import EdgeAgentError
from edge_agent.progress import progress
from edge_agent.terminal import table, wrapped

if TYPE_CHECKING:
    from edge_agent.config import Site

Answer = dict[str, Any]

_PATIENCE_S = 120.0  # for the cloud's answer and a slow disk


def run(options: argparse.Namespace) -> int:
    """Checks and prints. 0: all fits, 1: something does not, 3: nothing could be compared."""
    from edge_agent.config import load_site
    from edge_agent.control import ask, state_lock

    site = load_site(options.config)
    folder = site.database.parent
    with progress(doing=f"asking the platform what it counted in {options.days} days"):
        answer = ask(folder, {"command": "verify", "days": options.days}, _PATIENCE_S) if folder.is_dir() else None
        if answer is None:
            if not site.database.exists():
                raise EdgeAgentError(f"there is no queue yet: {site.database} does not exist, so it is not known what was sent")
            with state_lock(folder):
                answer = asyncio.run(_without_agent(site, options.days))
    print(json.dumps(answer, indent=2, ensure_ascii=False) if options.json else verification_text(answer))
    return 3 if answer["problem"] else 0 if answer["fits"] else 1


async def _without_agent(site: Site, days: int) -> Answer:
    from edge_agent.cloud.queue_rules import queue_rules
    from edge_agent.model.clock import SystemClock
    from edge_agent.outbox.outbox import Outbox
    from edge_agent.uplink.client import MoostClient
    from edge_agent.uplink.reconcile import Question, reconcile

    clock = SystemClock()
    client = MoostClient(site.account, clock)
    outbox = await Outbox.open(site.database, site.max_size, queue_rules(site.decisions))
    try:
        question = Question(site.time_zone, site.decisions.interval_timestamp, days)
        return (await reconcile(client, outbox, question, clock.now())).to_json()
    finally:
        await client.close()
        await outbox.close()


def verification_text(answer: Answer) -> str:
    """A check for the terminal: how much fits, and each hour that does not."""
    head = f"{answer['first']} to {answer['last']} ({answer['time_zone']})"
    if answer["problem"]:
        return wrapped(f"{head}: nothing was compared: {answer['problem']}", 2)
    agreeing = f"{answer['agreeing']} of {answer['hours']} hours agree (each event type counted by itself)"
    lines = [wrapped(f"{head}: {agreeing if answer['hours'] else 'no whole hour was sent that could be compared yet'}", 2)]
    if answer["uncounted"]:
        lines.append(f"{answer['uncounted']} hours were not compared: the platform's statistics begin later or do not reach them yet")
    if answer["unit"] == "kWh":
        lines.append("the platform's statistics are in kWh")
    if answer["shifted"]:
        dated = answer["dated"]
        lines.append(f"SHIFT: the platform takes a timestamp for its interval's {dated}; no loss, but write reporting: {{timestamp: {dated}}}")
    rows = [
        (one["local"], one["type"], f"{one['sent_wh']:.0f} Wh", f"{one['counted_wh']:.0f} Wh", one["what"], one["action"])
        for one in answer["findings"]
    ]
    if rows:
        lines.append(table(("hour", "type", "sent", "counted", "", ""), rows))
    if answer["queued_again"]:
        lines.append(f"{answer['queued_again']} events are queued again")
    return "\n".join(lines)
