"""Puts the page on its address for as long as a shift lasts. An address that cannot be had is said once and tried again: the agent goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from edge_agent.config.site import WebSettings
from edge_agent.model.clock import Clock
from edge_agent.outbox.outbox import Outbox
from edge_agent.shift import Shift
from edge_agent.web.app import App, Sources
from edge_agent.web.guard import Guard
from edge_agent.web.server import Server

log = logging.getLogger(__name__)

AGAIN_S = 30.0  # between two attempts to listen
CHECK_S = 60.0  # how long the check of the balance watches
_LETTERS = 200  # dead letters that the page lists


@contextlib.asynccontextmanager
async def shown(settings: WebSettings, shift: Shift, outbox: Outbox, clock: Clock, uptime_s: Callable[[], float]) -> AsyncIterator[None]:
    """The page is there while the block runs."""

    async def retry() -> int:
        count = await outbox.retry_dead()
        log.info("page: %d dead letters were put back into the queue", count)
        shift.uploader.wake()
        return count

    sources = Sources(
        status=lambda: shift.answers.status(uptime_s()),
        charts=shift.answers.charts,
        device=shift.answers.last_reading,
        check=lambda: shift.answers.check_balance(CHECK_S),
        dead_letters=lambda: outbox.dead_letters(_LETTERS),
        retry=retry,
    )
    server = Server(App(sources, Guard(settings.password, settings.hosts), clock).answer)
    task = asyncio.create_task(_serve(server, settings), name="page")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _serve(server: Server, settings: WebSettings) -> None:
    where = f"{settings.host}:{settings.port}"
    said = False
    while True:
        try:
            async with server.listening(settings.host, settings.port):
                log.info("page: http://%s", where)
                await asyncio.Event().wait()
        except OSError as error:
            if not said:
                log.error("page: cannot listen on %s (%s); trying again every %.0f s. Check `web.listen:`", where, error.strerror or error, AGAIN_S)
            said = True
        await asyncio.sleep(AGAIN_S)
