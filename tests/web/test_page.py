"""The page in a real browser: what it shows, by keyboard and to a screen reader, and how it looks."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import edge_agent.web
from tests.status.examples import healthy, judged
from tests.web.browser import Browser, chromium
from tests.web.houses import bad_house, good_house
from tests.web.serving import PASSWORD, House, serving

PICTURES = Path(__file__).parent / "screenshots"
MADE_FROM = PICTURES / "made-from"
STATIC = Path(edge_agent.web.__file__).parent / "static"
AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
PHONE, DESKTOP = (390, 844), (1280, 800)
READY = "document.querySelector('#charts svg') && document.querySelector('#devices details')"
ENTER, SPACE, TAB, LEFT = "\ue007", " ", "\ue004", "\ue012"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@contextmanager
def shown(house: House, password: str | None = None) -> Iterator[str]:
    """The page's address, served in a thread while the block runs."""
    loop = asyncio.new_event_loop()
    ready, ports = threading.Event(), []
    stop = asyncio.Event()

    async def serve() -> None:
        async with serving(house, password) as port:
            ports.append(port)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


def text(browser: Browser, selector: str) -> str:
    return plain(browser.run("return document.querySelector(arguments[0]).innerText", selector))


def plain(words: Any) -> str:
    """Without what keeps a number and its unit on one line."""
    return str(words).replace("\u00a0", " ").replace("\u202f", " ")


def open_page(browser: Browser, url: str, size: tuple[int, int] = DESKTOP, dark: bool = False) -> None:
    browser.look(*size, dark)
    browser.open(url)
    browser.wait(READY)


def test_flow_is_shown_and_follows_the_house(browser: Browser) -> None:
    house = good_house()
    with shown(house) as url:
        open_page(browser, url)
        assert text(browser, "#health") == "All is well"
        assert "The sun gives 7.42 kW, 1.84 kW go to the grid, the battery charges with 1.21 kW" in text(browser, "#sentence")
        assert browser.run("return document.querySelector('[data-node=battery] .label').textContent") == "Charging 78 %"
        read_out = browser.run("return [...document.querySelectorAll('#flow li')].map((item) => item.textContent)")
        assert {"Grid, export: 1.84 kW", "Battery, charging 78 %: 1.21 kW"} <= set(map(plain, read_out))
        assert browser.run("return document.querySelector('[data-stream=grid]').classList.contains('back')"), "export runs away from the house"
        changed = judged(healthy())
        changed["flow"] = [{**node, "power_w": 640.0} if node["kind"] == "grid" else node for node in house.status["flow"]]
        house.status = changed
        browser.wait("document.querySelector('[data-node=grid] .label').textContent === 'Import'")
        assert browser.console() == [], "the browser complains"


def test_trouble_is_said_first_with_what_to_do(browser: Browser) -> None:
    with shown(bad_house()) as url:
        open_page(browser, url, PHONE)
        assert text(browser, "#health") == "Needs a look"
        advice = text(browser, "#advice")
        assert "Roof and battery\nno answer from 192.168.1.12:502 in 3 s; check cable, power" in advice
        assert "api.moost.io cannot be reached (no route to host); what is measured is kept and sent later, 312 events so far" in advice
        assert browser.run("return document.querySelector('#advice').getBoundingClientRect().top < 200")
        assert browser.run("return document.querySelector('[data-node=sun] .power').textContent") == "–"


def test_device_opens_by_keyboard_with_its_points(browser: Browser) -> None:
    with shown(good_house()) as url:
        open_page(browser, url)
        browser.run("document.querySelector('#devices summary').focus()")
        browser.type(ENTER)
        browser.wait("document.querySelector('#devices table')")
        assert "0xC4E6 0x6666" in text(browser, "#devices details[open] table")
        assert "tcp://192.168.1.9:502 unit 1" in text(browser, "#devices details[open] dl")
        browser.type(ENTER)
        assert not browser.run("return document.querySelector('#devices details[open]')")


def test_charts_are_read_out_by_arrow_keys_and_change_their_span(browser: Browser) -> None:
    with shown(good_house()) as url:
        open_page(browser, url)
        browser.run("document.querySelector('.stage').focus()")
        browser.type(LEFT, LEFT)
        assert "Sun " in text(browser, "#charts output")
        browser.run("document.activeElement.blur()")
        browser.run("document.querySelector('[value=week]').click()")
        browser.wait("document.querySelector('.figures dd').innerText.startsWith('172')")
        assert "Self-sufficiency\n96 %" in text(browser, ".figures")


def test_meters_are_checked_by_a_button(browser: Browser) -> None:
    with shown(good_house()) as url:
        open_page(browser, url)
        browser.run("document.querySelector('#check').click()")
        browser.wait("document.querySelector('#checked table')")
        assert "grid-meter counts the wrong way: write invert: true" in text(browser, "#checked")


def test_refused_events_are_sent_again_after_logging_in(browser: Browser) -> None:
    house = bad_house()
    with shown(house, PASSWORD) as url:
        browser.look(*DESKTOP, False)
        browser.open(url)
        assert browser.url == f"{url}/login"
        browser.type(*PASSWORD, ENTER)
        browser.wait(READY)
        browser.wait("document.querySelector('#dead button')")
        browser.run("document.querySelector('#dead button').click()")
        browser.wait("document.querySelector('#dead').innerText.includes('2 are in the queue again')")
    assert house.retried == 1


def test_devices_say_in_words_which_way_the_power_flows(browser: Browser) -> None:
    with shown(good_house()) as url:
        open_page(browser, url)
        values = [plain(one) for one in browser.run("return [...document.querySelectorAll('#devices .value')].map((one) => one.textContent)")]
        assert values == ["export 1.84 kW", "Sun 7.42 kW · charging 1.21 kW · 78 %", "1.63 kW", "2.35 kW", "38 W"]


def test_agent_that_has_read_nothing_yet_is_starting_and_not_well(browser: Browser) -> None:
    house = good_house()
    house.status["devices"] = [{**one, "state": "waiting", "values": [], "age_s": None, "read_at": None} for one in house.status["devices"]]
    house.charts = {name: {**chart, "columns": {}} for name, chart in house.charts.items()}
    with shown(house) as url:
        browser.look(*PHONE, False)
        browser.open(url)
        browser.wait("document.querySelector('#charts .empty')")
        assert (text(browser, "#health"), text(browser, "#sentence")) == ("Starting", "The first readings are on their way.")


def test_page_that_hears_nothing_says_so(browser: Browser) -> None:
    with shown(good_house()) as url:
        open_page(browser, url)
    browser.wait("!document.querySelector('#lost').hidden")
    assert "what you see is old" in text(browser, "#lost")
    assert text(browser, "#health") == "No contact"
    assert browser.run("return document.title") == "No contact · edge-agent"
    browser.console()


@pytest.mark.parametrize("make", [good_house, bad_house])
@pytest.mark.parametrize("width", [320, 768])
def test_page_fits_the_screen(browser: Browser, make: Callable[[], House], width: int) -> None:
    with shown(make()) as url:
        open_page(browser, url, (width, 800))
        browser.run("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        browser.wait("document.querySelectorAll('#devices table').length === 5")
        assert browser.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("make", [good_house, bad_house])
def test_page_is_accessible(browser: Browser, make: Callable[[], House], dark: bool) -> None:
    with shown(make()) as url:
        open_page(browser, url, dark=dark)
        browser.run("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        browser.wait("document.querySelectorAll('#devices table').length === 5")
        assert violations(browser) == []


def test_login_is_accessible(browser: Browser) -> None:
    with shown(good_house(), PASSWORD) as url:
        browser.look(*PHONE, True)
        browser.open(f"{url}/login")
        browser.wait("document.querySelector('input')")
        assert violations(browser) == []


def violations(browser: Browser) -> list[str]:
    """What axe objects to: the rule and the element."""
    browser.run(AXE)
    found: list[dict[str, Any]] = browser.run("return axe.run().then((result) => result.violations)")
    return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]


def page_sources() -> str:
    """What the pictures are made from."""
    sources = [*sorted(STATIC.iterdir()), *(Path(__file__).parent / name for name in ("houses.py", "serving.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("make", [good_house, bad_house], ids=["healthy", "broken"])
def test_pictures_are_taken(
    browser: Browser, make: Callable[[], House], size: tuple[int, int], dark: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Always made and looked at for size; kept where `make screenshots` asks for it."""
    kept = "EDGE_AGENT_SCREENSHOTS" in os.environ
    with shown(make()) as url:
        open_page(browser, url, size, dark)
        picture = browser.picture()
    name = request.node.callspec.id.replace("[", "").replace("]", "")
    (PICTURES if kept else tmp_path).joinpath(f"{name}.webp").write_bytes(picture)
    if kept:
        MADE_FROM.write_text(page_sources() + "\n")
    assert 8_000 < len(picture) < 100_000


def test_pictures_show_the_page_as_it_is() -> None:
    assert MADE_FROM.read_text().strip() == page_sources(), "the page has changed: run make screenshots, and look at them"
    assert len(list(PICTURES.glob("*.webp"))) == 8
