"""The local hub's page in headless Chromium, with the real hub and, as the device, the real SDK over TLS."""

from __future__ import annotations

import json
import math
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import azure.iot.device as azure_device
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from agent.localhub import methods
from agent.localhub.faults import Fault
from agent.localhub.hub import LocalHub
from agent.localhub.page import wire
from agent.localhub.records import Arrival, DeviceOffline, MethodTimeout
from agent.localhub.store import Store
from hw.clock import SystemClock
from tests.agent.localhub.client import RawClient, subscribe
from tests.e2e.browser import WAIT_S, Browser
from tests.e2e.page_site import Site

DELIVERY = "#sent td.delivery"
OUTCOME = "#sent td.outcome"


def reading(sequence: int, time_s: float, sensor: str = "top", **changes: Any) -> dict[str, Any]:
    """A reading as masthead sends it."""
    speed = 7.0 + 2.2 * math.sin(sequence / 17) + 0.8 * math.sin(sequence / 3.1)
    body = {
        "deviceId": "mast-1",
        "sensor": sensor,
        "run": "9f3c01ab",
        "sequence": sequence,
        "time": datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "timeQuality": "synchronised",
        "interval": 1,
        "windSpeed": round(speed, 2),
        "windGust": round(speed + 1.4 + 0.7 * math.sin(sequence / 5), 2),
        "windLull": round(speed - 1.5, 2),
        "windSpeedStdDev": 0.9,
        "windDirection": round((352 + 22 * math.sin(sequence / 29) + 6 * math.sin(sequence / 2.3)) % 360, 1),
        "windVectorSpeed": round(speed - 0.1, 2),
        "quality": "good",
        "flags": [],
    }
    return body | changes


class Device:
    """mast-1 by the real SDK. Keeps the commands it gets; answers when it is told to."""

    def __init__(self, hub: LocalHub) -> None:
        self._client = azure_device.IoTHubDeviceClient.create_from_connection_string(
            hub.device_connection_string("mast-1"), server_verification_cert=hub.ca_file.read_text()
        )
        self._sequence = 5000
        self._arrived = threading.Semaphore(0)
        self._commands: list[Any] = []
        self._calls: list[Any] = []
        self._client.connect()
        self._client.on_message_received = self._receive

    def _receive(self, message: Any) -> None:
        self._commands.append(message)
        self._arrived.release()

    def next_command(self) -> Any:
        assert self._arrived.acquire(timeout=WAIT_S)
        return self._commands.pop(0)

    def take_calls(self) -> None:
        """From now on direct methods can be called; ``next_call`` and ``reply`` see to them."""
        self._client.on_method_request_received = self._called

    def _called(self, request: Any) -> None:
        self._calls.append(request)
        self._arrived.release()

    def next_call(self) -> Any:
        assert self._arrived.acquire(timeout=WAIT_S)
        return self._calls.pop(0)

    def reply(self, request: Any, number: int, payload: Any = None) -> None:
        build: Any = azure_device.MethodResponse.create_from_method_request
        self._client.send_method_response(build(request, number, payload))

    def send(self, body: dict[str, Any], kind: str = "reading", correlation_id: str | None = None) -> None:
        build: Any = azure_device.Message  # the SDK's constructor has no types
        message = build(json.dumps(body), content_type="application/json", content_encoding="utf-8")
        message.message_id = f"{body.get('run')}-{body.get('sequence')}"
        message.correlation_id = correlation_id
        message.custom_properties = {"schema": "1", "type": kind, "simulated": "true"}
        self._client.send_message(message)

    def read(self, **changes: Any) -> dict[str, Any]:
        self._sequence += 1
        body = reading(self._sequence, SystemClock().wall(), **changes)
        self.send(body)
        return body

    def answer(self, command: Any, status: str, reason: str | None = None, **more: Any) -> None:
        asked = json.loads(command.data)
        self.tell_outcome(command.message_id, status, reason=reason, command=asked["command"], **more)

    def tell_outcome(self, command_id: str, status: str, **more: Any) -> dict[str, Any]:
        self._sequence += 1
        head = {"deviceId": "mast-1", "run": "9f3c01ab", "sequence": self._sequence}
        body = head | {"time": "2026-11-20T17:34:00.000Z", "commandId": command_id, "status": status}
        body |= more
        self.send(body, "outcome", command_id)
        return body

    def close(self) -> None:
        self._client.shutdown()


def outcomes(browser: Browser) -> list[str]:
    """In words, of the commands in the order of their sending."""
    script = "return [...document.querySelectorAll('#sent td.outcome .words')].map((e) => e.innerText)"
    words: list[str] = browser.driver.execute_script(script)
    return words[::-1]


def record_history(directory: Path, count: int) -> None:
    """Readings of two sensors as they came over the last ``count`` seconds, with a gap and an outage."""
    now_s = SystemClock().wall()
    at_s = now_s - count
    store = Store(directory, lambda: at_s)
    store.registry.ensure("mast-1")
    store.registry.ensure("mast-2")
    arrivals = []
    for i in range(count):
        lost = {"windSpeed": None, "windGust": None, "windDirection": None, "quality": "missing"}
        changes: dict[str, Any] = lost | {"flags": ["no-answer"]} if 0.4 < i / count < 0.45 else {}
        if 0.7 < i / count < 0.76:
            continue
        for sensor, number in (("top", 2 * i), ("boom", 2 * i + 1)):
            body = reading(number, at_s + i, sensor, **changes)
            arrivals.append(
                Arrival("mast-1", {}, {"type": "reading", "simulated": "true"}, json.dumps(body).encode())
            )
    store.events.append(arrivals)
    store.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    record_history(tmp_path / "hub", 200)
    site = Site(tmp_path / "hub")
    yield site
    site.close()


@pytest.fixture
def device(site: Site) -> Iterator[Device]:
    device = Device(site.hub)
    yield device
    device.close()


def test_readings_appear_without_a_reload(site: Site, device: Device, browser: Browser) -> None:
    """A page that is open shows each reading as it is stored, with its history before it."""
    browser.open(site.page.url)
    browser.wait_text("#link", "live")
    browser.wait_text("#devices", "mast-1 connected")
    browser.wait_text("#devices", "mast-2 not connected")
    browser.driver.find_element(By.CSS_SELECTOR, "#sensors input[value=top]").click()
    browser.driver.execute_script("window.sameDocument = true")
    before = browser.wait(browser.speed_line)
    assert before.count("M") == 3  # the null readings and the missing ones are two gaps

    device.read(windSpeed=11.3, windGust=14.8, windDirection=231.4)
    browser.wait_text("#speed", "11.3")
    assert browser.text("#gust") == "14.8"
    assert browser.text("#direction") == "231° SW"
    assert browser.text("#simulated") == "simulated"
    browser.wait(lambda: browser.speed_line() != before)

    device.read(windSpeed=None, windGust=None, windDirection=None, quality="missing", flags=["no-answer"])
    browser.wait_text("#quality", "missing · no-answer")
    assert browser.text("#speed") == "–"
    device.read(timeQuality="unsynchronised")
    browser.wait_text("#clock", "unsynchronised")
    assert browser.driver.execute_script("return window.sameDocument")
    assert browser.complaints() == []


def test_sensors_are_told_apart(site: Site, device: Device, browser: Browser) -> None:
    """Each sensor of a device has its own series; a reading of one does not show as the other's."""
    browser.open(site.page.url)
    browser.wait_text("#sensors", "top")
    browser.driver.find_element(By.CSS_SELECTOR, "#sensors input[value=boom]").click()
    browser.wait_text("#sensor", "boom")
    device.read(sensor="top", windSpeed=30.5)
    device.read(sensor="boom", windSpeed=3.5)
    browser.wait_text("#speed", "3.5")
    browser.driver.find_element(By.CSS_SELECTOR, "#sensors input[value=top]").click()
    browser.wait_text("#speed", "30.5")


def test_the_plot_can_be_read_by_keyboard(site: Site, device: Device, browser: Browser) -> None:
    """Arrow keys walk over the readings; the cursor stays with its reading while new ones come."""
    device.read(windSpeed=12.5, windGust=15.5, windDirection=90)
    browser.open(site.page.url)
    browser.wait_text("#sensors", "top")
    browser.driver.find_element(By.CSS_SELECTOR, "#sensors input[value=top]").send_keys(Keys.SPACE)
    browser.wait_text("#speed", "12.5")
    browser.press(Keys.TAB)
    browser.wait(lambda: browser.speed_line() is not None and browser.focused() == "plot")
    browser.press(Keys.ARROW_LEFT)
    browser.wait_text("#readout", "12.5 m/s, gust 15.5 m/s, from 090° E")
    before = browser.speed_line()
    device.read(windSpeed=2.5)
    browser.wait(lambda: browser.speed_line() != before)
    assert "12.5 m/s" in browser.text("#readout")
    browser.press(Keys.END)
    browser.wait_text("#readout", ": 2.5 m/s")
    browser.press(Keys.ESCAPE)
    browser.wait(lambda: browser.text("#readout") == "")


def test_a_command_is_sent_by_keyboard_and_its_stages_are_apart(
    site: Site, device: Device, browser: Browser
) -> None:
    """Tab, type and Enter send a command; delivery and outcome each show when they happen."""
    browser.open(site.page.url)
    browser.wait_text("#target", "mast-1")
    for _ in range(30):
        browser.press(Keys.TAB)
        if browser.focused() == "actuator":
            break
    assert browser.focused() == "actuator"
    browser.press(Keys.TAB, Keys.ARROW_RIGHT, Keys.TAB, Keys.TAB, Keys.TAB, Keys.ENTER)

    command = device.next_command()
    assert json.loads(command.data) == {"command": "set", "actuator": "beacon", "value": False, "for": 10}
    assert str(uuid.UUID(command.message_id)) == command.message_id
    browser.wait_text(DELIVERY, "delivered")
    assert "not told yet" in browser.text(OUTCOME)

    device.answer(command, "refused", "hold")
    browser.wait_text(OUTCOME, "refused: hold")
    said = browser.driver.find_element(By.ID, "announce")
    browser.wait(lambda: "refused: hold" in str(said.get_attribute("textContent")))
    assert "delivered" in browser.text(DELIVERY)
    assert browser.complaints() == []


def test_a_command_to_a_device_that_is_away_waits(site: Site, browser: Browser) -> None:
    """Without the device a command is taken and waits; what is wrong with the form is said beside it."""
    browser.open(site.page.url)
    browser.wait_text("#target", "mast-1")
    actuator = browser.driver.find_element(By.ID, "actuator")
    actuator.clear()
    actuator.send_keys(Keys.ENTER)
    browser.wait_text("#form-error", "Which actuator?")
    actuator.send_keys("<b>heater</b>", Keys.ENTER)
    browser.wait_text("#sent th strong", "<b>heater</b> on for 10 s")
    assert "queued expires" in browser.text(DELIVERY)
    assert "not yet" in browser.text(OUTCOME)
    site.hub.send_c2d("mast-1", b"short-lived", message_id="short", expires_in_s=0.5)
    browser.wait_text("#sent [data-id=short] td.delivery", "expired")
    assert browser.text("#sent [data-id=short] td.outcome") == "· none"
    assert browser.complaints() == []


def choose(browser: Browser, value: str) -> None:
    browser.driver.find_element(By.CSS_SELECTOR, f"#command input[value={value}]").click()


def submit(browser: Browser) -> None:
    browser.driver.find_element(By.CSS_SELECTOR, "#command button[type=submit]").click()


def test_the_form_has_every_command(site: Site, device: Device, browser: Browser) -> None:
    """Each command shows the parts that it has and sends them; what it lacks is said beside the button."""
    browser.open(site.page.url)
    browser.wait_text("#target", "mast-1")
    seconds = browser.driver.find_element(By.ID, "seconds")
    for name, parts, body in (
        ("set", "actuator value for", {"actuator": "beacon", "value": True, "for": 10}),
        ("pulse", "actuator for", {"actuator": "beacon", "for": 1}),
        ("stop", "actuator", {"actuator": "beacon"}),
        ("hold", "for", {"for": 600}),
        ("release", "", {}),
        ("ping", "", {}),
    ):
        choose(browser, name)
        shown = "return [...document.querySelectorAll('[data-part]')].filter((e) => e.checkVisibility())"
        assert browser.driver.execute_script(f"{shown}.map((e) => e.dataset.part).join(' ')") == parts
        submit(browser)
        assert json.loads(device.next_command().data) == {"command": name} | body

    choose(browser, "pulse")
    seconds.clear()
    submit(browser)
    browser.wait_text("#form-error", "For how many seconds? More than 0.")
    assert browser.focused() == "seconds"
    choose(browser, "hold")
    assert browser.text("#form-error") == ""
    assert seconds.get_attribute("value") == "600"
    seconds.clear()
    submit(browser)
    assert json.loads(device.next_command().data) == {"command": "hold"}
    browser.wait_text("#sent th strong", "hold ping release hold for 600 s stop beacon pulse beacon for 1 s")
    assert browser.complaints() == []


def test_stop_all_needs_nothing_else(site: Site, device: Device, browser: Browser) -> None:
    """The button sends stop-all at once, whatever the form holds, as a message or as a direct method."""
    device.take_calls()
    browser.open(site.page.url)
    browser.wait_text("#target", "mast-1")
    browser.driver.find_element(By.ID, "actuator").clear()
    button = browser.driver.find_element(By.ID, "stop-all")
    button.click()
    assert json.loads(device.next_command().data) == {"command": "stop-all"}
    choose(browser, "method")
    button.send_keys(Keys.ENTER)
    call = device.next_call()
    assert call.name == "stop-all"
    assert list(call.payload) == ["id"]
    device.reply(call, 200, {"commandId": call.payload["id"], "status": "done"})
    browser.wait_text("#sent [data-way=method] td.outcome", "done")
    assert browser.text("#form-error") == ""
    assert browser.complaints() == []


def test_a_direct_method_is_one_row_with_number_and_outcome(
    site: Site, device: Device, browser: Browser
) -> None:
    """The answer's number is the delivery, its status the outcome; the outcome event adds no second row."""
    device.take_calls()
    browser.open(site.page.url)
    browser.wait_text("#target", "mast-1")
    choose(browser, "method")
    submit(browser)
    call = device.next_call()
    command_id = call.payload.pop("id")
    assert str(uuid.UUID(command_id)) == command_id
    assert (call.name, call.payload) == ("set", {"actuator": "beacon", "value": True, "for": 10})
    browser.wait_text(DELIVERY, "called, no answer yet")
    assert browser.text(OUTCOME) == "· not yet"
    device.reply(call, 400, {"commandId": command_id, "status": "refused", "reason": "hold"})
    browser.wait_text(DELIVERY, "✓ answered 400")
    assert "✕ refused: hold" in browser.text(OUTCOME)
    device.tell_outcome(command_id, "refused", reason="hold", command="set")
    device.read(sensor="boom", windSpeed=21.5)
    browser.wait_text("#speed", "21.5")
    assert browser.text("#sent th strong") == "beacon on for 10 s"

    browser.driver.refresh()
    browser.wait_text(OUTCOME, "refused: hold")
    assert browser.text("#sent th strong") == "beacon on for 10 s"
    assert browser.complaints() == []


def test_the_outcome_is_only_what_the_device_says(site: Site, device: Device, browser: Browser) -> None:
    """An answer without a status tells no outcome until the outcome's event does; nor does its number."""
    device.take_calls()
    browser.open(site.page.url)
    browser.wait_text("#target", "mast-1")
    choose(browser, "ping")
    choose(browser, "method")
    submit(browser)
    call = device.next_call()
    device.reply(call, 200, {"version": "1.0"})
    browser.wait_text(DELIVERY, "answered 200")
    assert browser.text(OUTCOME) == "· none in the answer"
    device.tell_outcome(call.payload["id"], "done", repeat=True)
    browser.wait_text(OUTCOME, "✓ done")
    assert "repeat" in browser.text(OUTCOME)


def test_a_method_that_is_not_answered_is_told_in_its_row(
    site: Site, device: Device, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline and no answer in time each say so as the delivery; a late outcome still finds its row."""
    monkeypatch.setattr(methods, "MIN_TIMEOUT_S", 0.0)
    browser.open(site.page.url)
    browser.wait_text("#target", "mast-1")
    choose(browser, "method")
    submit(browser)
    browser.wait_text(DELIVERY, "✕ device offline")
    assert browser.text(OUTCOME) == "· not told"
    assert browser.text("#form-error") == ""
    device.take_calls()
    with pytest.raises(MethodTimeout):
        site.run(site.hub.call_method("mast-1", "ping", b'{"id": "late"}', timeout_s=0.05))
    browser.wait_text("#sent [data-id=late] td.delivery", "✕ no answer")
    assert browser.text("#sent [data-id=late] td.outcome") == "… not told yet"
    device.tell_outcome("late", "done")
    browser.wait_text("#sent [data-id=late] td.outcome", "✓ done")
    assert browser.text("#sent [data-id=late] td.delivery").startswith("✕ no answer")


def test_one_id_sent_twice_is_two_rows_with_their_own_outcomes(
    site: Site, device: Device, browser: Browser
) -> None:
    """The second answer, marked as a repeat, belongs to the second row; a repeat of one delivery to none."""
    browser.open(site.page.url)
    browser.wait_text("#target", "mast-1")
    for _ in range(2):
        site.hub.send_c2d("mast-1", b'{"command": "ping"}', message_id="twice")
    device.answer(device.next_command(), "done")
    device.answer(device.next_command(), "done", repeat=True)
    rows = "return [...document.querySelectorAll('[data-id=twice] td.outcome')].map((e) => e.innerText)"
    browser.wait(lambda: ["repeat" in row for row in browser.driver.execute_script(rows)] == [True, False])
    assert browser.text(DELIVERY).count("delivered") == 2


def test_an_outcome_by_the_message_id_finds_its_row(site: Site, device: Device, browser: Browser) -> None:
    """The device calls a command so whose own id it cannot take, or whose body it cannot."""
    browser.open(site.page.url)
    browser.wait_text("#target", "mast-1")
    twice_named = b'{"command": "ping", "id": "again", "command": "ping"}'
    for message_id, body in (
        ("m-1", '{"command": "ping", "id": "odd\u00a0"}'.encode()),
        ("m-2", twice_named),
        ("m-3", b'{"command": "ping", "id": "again"}'),
        ("m-4", b'{"command": "ping", "id": "m-5"}'),
        ("m-5", b'{"command": "ping", "id": "own"}'),
    ):
        site.hub.send_c2d("mast-1", body, message_id=message_id)
        device.next_command()
    device.tell_outcome("m-1", "refused", reason="bad-id")
    device.tell_outcome("m-2", "refused", reason="duplicate-key")
    device.tell_outcome("again", "done")
    device.tell_outcome("m-5", "failed")
    device.tell_outcome("own", "expired")
    browser.wait(
        lambda: (
            outcomes(browser) == ["refused: bad-id", "refused: duplicate-key", "done", "failed", "expired"]
        )
    )


def test_an_outcome_that_comes_twice_is_one(
    site: Site, device: Device, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it comes so late that the stream no longer knows it: the next command's it is not."""
    monkeypatch.setattr(wire, "_REMEMBERED_IDS", 1)
    browser.open(site.page.url)
    browser.wait_text("#sensors", "top")
    browser.driver.find_element(By.CSS_SELECTOR, "#sensors input[value=top]").click()
    for command in ("ping", "hold"):
        site.hub.send_c2d("mast-1", json.dumps({"command": command, "id": "twice"}).encode())
        device.next_command()
    told = device.tell_outcome("twice", "done")
    device.read(windSpeed=11.3)
    device.read(windSpeed=11.4)
    device.send(told, "outcome", "twice")
    device.read(windSpeed=22.6)
    browser.wait_text("#speed", "22.6")
    assert outcomes(browser) == ["done", "not told yet"]
    device.tell_outcome("twice", "refused", reason="id-reused")
    browser.wait(lambda: outcomes(browser) == ["done", "refused: id-reused"])


def test_a_message_that_is_sent_and_not_confirmed_says_so(site: Site, browser: Browser) -> None:
    """Between queued and delivered there is sent: the hub has sent it, and nobody has confirmed it."""
    with RawClient(site.hub) as client:
        client.login()
        client.send(subscribe(1, ("devices/mast-1/messages/devicebound/#", 1)))
        client.receive()
        browser.open(site.page.url)
        browser.wait_text("#target", "mast-1")
        choose(browser, "ping")
        submit(browser)
        message = client.message()
        browser.wait_text(DELIVERY, "sent, not confirmed expires")
        assert browser.text(OUTCOME) == "· not yet"
        client.acknowledge(message)
        browser.wait_text(DELIVERY, "✓ delivered")


class Other(BaseHTTPRequestHandler):
    """Some other page that is open in the same browser."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>other</title><link rel=icon href=data:,>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        return


def test_another_origin_is_refused(site: Site, browser: Browser) -> None:
    """A page of another origin can neither read nor command, not even if it knew the token."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        browser.open(f"http://127.0.0.1:{server.server_port}/")
        ask = """
            const [url, options, done] = arguments;
            fetch(url, options).then((r) => done(`${r.type} ${r.status}`), (error) => done(String(error)));
        """
        token = {"Authorization": f"Bearer {site.page.token}"}
        post = f"{site.page.address}api/devices/mast-1/commands"
        body = json.dumps({"actuator": "beacon", "value": True})
        for url, options in (
            (f"{site.page.address}api/stream", {"headers": token}),
            (post, {"method": "POST", "headers": token, "body": body}),
            (site.page.address, {}),
        ):
            assert "Failed to fetch" in browser.driver.execute_async_script(ask, url, options)
        blind = {"method": "POST", "mode": "no-cors", "body": body}
        assert "200" not in browser.driver.execute_async_script(ask, post, blind)
        assert site.hub.store.c2d.latest() == []
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("fragment", "words"), [("", "lacks its token"), ("#token=wrong", "does not accept this page's token")]
)
def test_a_wrong_token_is_said_with_the_remedy(
    site: Site, browser: Browser, fragment: str, words: str
) -> None:
    """Without the right token the page says so and what to open; the right address then works at once."""
    browser.open(site.page.address + fragment)
    browser.wait_text("#notice", words)
    assert "masthead hub" in browser.text("#notice")
    assert browser.text("#link") == "no access"
    assert browser.text("#no-device") == ""
    browser.driver.get(site.page.url)  # only the fragment changes: no new document
    browser.wait_text("#link", "live")
    assert browser.text("#notice") == ""


def test_the_stream_comes_back_by_itself(site: Site, device: Device, browser: Browser) -> None:
    """A lost hub is said and asked again; one that is back with another token asks for its new address."""
    browser.open(site.page.url)
    browser.wait_text("#link", "live")
    site.run(site.page.stop())
    browser.wait_text("#link", "connection to the hub lost")
    browser.wait_text("#devices", "mast-1 not known")
    site.restart_page()
    browser.wait_text("#notice", "makes a new one at each start")
    browser.driver.get(site.page.url)
    browser.wait_text("#link", "live")
    device.read(sensor="boom", windSpeed=9.9)
    browser.wait_text("#speed", "9.9")


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_sideways_scroll(site: Site, device: Device, browser: Browser, width: int) -> None:
    """From a phone's width up nothing sticks out, with long names and an open log."""
    device.send({"note": "x" * 3000, "actuator": "y" * 64}, "event")
    site.hub.send_c2d("mast-1", b"z" * 3000, message_id="m" * 128)
    site.hub.send_c2d("mast-1", json.dumps({"command": "set", "actuator": "w" * 64, "value": True}).encode())
    device.tell_outcome("m" * 128, "refused", reason="r" * 300)
    with pytest.raises(DeviceOffline):
        site.run(
            site.hub.call_method("mast-1", "command", b'{"command": "stop", "actuator": "%s"}' % (b"v" * 64))
        )
    device.next_command()
    browser.width(width)
    browser.open(site.page.url)
    browser.wait_text("#sent", "www")
    browser.wait_text("#sent", f"stop {'v' * 64}")
    site.hub.identities.update_twin("mast-1", desired={"p" * 300: "q" * 300}, tags={"t" * 300: 1})
    wider = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert browser.driver.execute_script(wider) is False
    browser.driver.find_element(By.ID, "tab-messages").click()
    browser.driver.find_element(By.CSS_SELECTOR, "#messages li[data-type=event] summary").click()
    browser.wait_text("#messages pre", "xxx")
    assert browser.driver.execute_script(wider) is False
    browser.driver.find_element(By.ID, "tab-manage").click()
    browser.wait(lambda: "ppp" in browser.value("twin-desired"))
    assert browser.driver.execute_script(wider) is False
    assert browser.complaints() == []


def test_an_ill_hub_is_not_taken_for_a_broken_one(site: Site, browser: Browser) -> None:
    """While a fault is on the page says which, and that the hub was told to; cleared, it says nothing."""
    site.hub.faults.set(Fault("late-puback", 3))
    browser.open(site.page.url)
    browser.wait_text("#faults", "This hub misbehaves, as it was told to: late-puback=3")
    site.hub.faults.set(Fault("refuse", 5, "mast-2", 2))
    browser.wait_text("#faults", "late-puback=3; refuse=5 for mast-2, 2 times")
    site.hub.faults.clear()
    browser.wait(lambda: browser.text("#faults") == "")
    assert browser.complaints() == []
