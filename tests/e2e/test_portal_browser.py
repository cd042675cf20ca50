"""The page as a portal, in headless Chromium: devices, their twins, their messages, direct methods."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import azure.iot.device as azure_device
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from agent.localhub.hub import LocalHub
from agent.localhub.records import Arrival, UnknownDevice
from tests.e2e.browser import WAIT_S, Browser
from tests.e2e.page_site import Site

CLIPBOARD = "navigator.clipboard.readText().then(arguments[0], (error) => arguments[0](String(error)))"


class Device:
    """A device by the real SDK, with the connection string that somebody pasted. Use in ``with``."""

    def __init__(self, hub: LocalHub, connection_string: str) -> None:
        self.client = azure_device.IoTHubDeviceClient.create_from_connection_string(
            connection_string,
            server_verification_cert=hub.ca_file.read_text(),
            connection_retry=False,
            auto_connect=False,
        )
        self.patches: queue.Queue[Any] = queue.Queue()
        self.calls: queue.Queue[Any] = queue.Queue()

    def __enter__(self) -> Device:
        self.client.connect()
        self.client.on_twin_desired_properties_patch_received = self.patches.put
        self.client.on_method_request_received = self.calls.put
        return self

    def __exit__(self, *_exc: object) -> None:
        self.client.shutdown()

    def reply(self, status: int, payload: Any) -> Any:
        """Answer the next call; its name and payload."""
        call = self.calls.get(timeout=WAIT_S)
        build: Any = azure_device.MethodResponse.create_from_method_request
        self.client.send_method_response(build(call, status, payload))
        return call.name, call.payload


class Portal:
    """The page, and what a person does with it."""

    def __init__(self, browser: Browser, site: Site) -> None:
        self.browser = browser
        self.site = site
        self.driver = browser.driver

    def open(self, view: str) -> None:
        self.browser.open(self.site.page.url)
        self.browser.wait_text("#link", "live")
        self.click(f"tab-{view}")

    def click(self, element_id: str) -> None:
        self.driver.find_element(By.ID, element_id).click()

    def type(self, element_id: str, text: str) -> None:
        """Instead of what was there."""
        field = self.driver.find_element(By.ID, element_id)
        field.clear()
        field.send_keys(text)

    def choose(self, device_id: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, f"#devices input[value='{device_id}']").click()
        self.browser.wait_text("#identity-id", device_id)

    def wait_value(self, element_id: str, part: str) -> None:
        self.browser.wait(lambda: part in self.browser.value(element_id))

    def allow_clipboard(self) -> None:
        """To be read, too, which only this test does."""
        for name in ("clipboard-read", "clipboard-write"):
            permission = {"name": name, "allowWithoutSanitization": True}
            self.driver.execute_cdp_cmd(
                "Browser.setPermission", {"permission": permission, "setting": "granted"}
            )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "hub")
    yield site
    site.close()


@pytest.fixture
def portal(site: Site, browser: Browser) -> Iterator[Portal]:
    portal = Portal(browser, site)
    yield portal
    browser.driver.execute_cdp_cmd("Browser.resetPermissions", {})


def test_a_device_from_its_creation_to_its_end(site: Site, portal: Portal, browser: Browser) -> None:
    """Created, connected with what was copied, its message read raw, its twin edited, a method called, cut
    off, and deleted: all of it on the page, none of it by a reload."""
    portal.open("wind")
    browser.wait_text("#no-device", "No device yet. Create one")
    portal.allow_clipboard()
    browser.driver.execute_script("window.sameDocument = true")
    portal.click("to-create")
    browser.wait(lambda: browser.focused() == "create-id")
    browser.press("mast-9", Keys.ENTER)
    browser.wait_text("#create-said", "mast-9 is created.")
    browser.wait_text("#identity-id", "mast-9")
    browser.wait_text("#devices", "mast-9 not connected")

    portal.click("copy")
    browser.wait_text("#identity-said", "Copied: the connection string of mast-9")
    copied = browser.driver.execute_async_script(CLIPBOARD)
    assert copied == site.hub.device_connection_string("mast-9")
    assert copied not in browser.driver.page_source

    with Device(site.hub, copied) as device:
        browser.wait_text("#devices", "mast-9 connected")
        browser.wait_text("#identity-connection", "connected")
        build: Any = azure_device.Message
        message = build(b"\xff\x00wind")
        message.message_id = "raw-1"
        message.custom_properties = {"type": "event", "place": "ridge"}
        device.client.send_message(message)
        portal.click("tab-messages")
        browser.wait_text("#messages summary", "other 6 bytes raw-1")
        browser.driver.find_element(By.CSS_SELECTOR, "#messages summary").click()
        browser.wait_text("#messages pre", "000000 ff 00 77 69 6e 64")
        assert "place ridge" in browser.text("#messages .pairs")
        assert "iothub-connection-device-id mast-9" in browser.text("#messages .pairs")

        portal.click("tab-manage")
        portal.wait_value("twin-desired", "{}")
        portal.type("twin-desired", '{"interval": 30}')
        portal.type("twin-tags", '{"place": "ridge"}')
        portal.click("twin-save")
        browser.wait_text("#twin-said", "Saved.")
        assert device.patches.get(timeout=WAIT_S) == {"interval": 30, "$version": 2}
        assert site.hub.store.twins.get("mast-9").tags == {"place": "ridge"}
        assert browser.text("#twin-conflict") == ""
        device.client.patch_twin_reported_properties({"interval": 30})
        browser.wait_text("#twin-reported", '"interval": 30')
        browser.wait_text("#reported-version", "version 2")

        portal.type("method-name", "calibrate")
        portal.type("method-payload", '{"speed": [1.5, null]}')
        portal.click("method-call")
        browser.wait_text("#method-status", "calling calibrate")
        assert device.reply(207, {"offset": 0.25}) == ("calibrate", {"speed": [1.5, None]})
        browser.wait_text("#method-status", "calibrate: mast-9 answered 207")
        assert browser.text("#method-answer") == '{ "offset": 0.25 }'

        portal.click("enable")
        browser.wait_text("#identity-said", "mast-9 is cut off and may not connect.")
        browser.wait_text("#devices", "mast-9 disabled")
        browser.wait(lambda: not device.client.connected)
        browser.wait_text("#enable", "Enable")

        portal.click("delete")
        portal.type("delete-typed", "mast-8\n")
        browser.wait_text("#delete-error", "Type mast-9 to delete it.")
        portal.type("delete-typed", "mast-9\n")
        browser.wait_text("#create-said", "mast-9 is deleted.")
        browser.wait_text("#no-device", "No device yet.")
        with pytest.raises(UnknownDevice):
            site.hub.store.registry.get("mast-9")
    assert browser.focused() == "create-id"
    assert browser.driver.execute_script("return window.sameDocument")
    assert browser.complaints() == []


def test_a_browser_without_a_clipboard_shows_the_line(site: Site, portal: Portal, browser: Browser) -> None:
    """Selected, to be copied by hand; it goes with Hide, and with another device."""
    site.hub.ensure_device("mast-1")
    site.hub.ensure_device("mast-2")
    portal.open("manage")
    browser.driver.execute_script("navigator.clipboard.writeText = () => Promise.reject(new Error())")
    for away in (lambda: portal.click("hide-string"), lambda: portal.choose("mast-2")):
        portal.click("copy")
        browser.wait_text("#identity-said", "copy the line yourself")
        assert browser.value("string") == site.hub.device_connection_string("mast-1")
        assert browser.focused() == "string"
        selected = browser.driver.execute_script("return getSelection().toString()")
        assert selected == browser.value("string")
        away()
        browser.wait(lambda: browser.value("string") == "")
        assert not browser.driver.find_element(By.ID, "string").is_displayed()


def test_nothing_is_deleted_by_accident(site: Site, portal: Portal, browser: Browser) -> None:
    """Escape, Cancel and Enter on an empty field leave the device where it is."""
    site.hub.ensure_device("mast-1")
    portal.open("manage")
    browser.wait_text("#identity-id", "mast-1")
    for way in ("escape", "cancel", "enter"):
        portal.click("delete")
        browser.wait(lambda: browser.focused() == "delete-typed")
        match way:
            case "escape":
                browser.press(Keys.ESCAPE)
            case "cancel":
                portal.click("delete-cancel")
            case _:
                browser.press(Keys.ENTER)
                browser.wait_text("#delete-error", "Type mast-1 to delete it.")
                browser.press(Keys.ESCAPE)
        browser.wait(lambda: browser.focused() == "delete")
    assert site.hub.store.registry.get("mast-1").enabled


def test_what_is_wrong_with_a_new_device_is_said(site: Site, portal: Portal, browser: Browser) -> None:
    """Beside the button, in the hub's words; the field keeps what was typed."""
    site.hub.ensure_device("mast-1")
    portal.open("manage")
    for typed, words in (("", "What is its id to be?"), ("a b", "device id 'a b'"), ("mast-1", "exists")):
        portal.type("create-id", f"{typed}\n")
        browser.wait_text("#create-error", words)
        assert browser.value("create-id") == typed


def test_bad_json_is_named_with_its_place(site: Site, portal: Portal, browser: Browser) -> None:
    """Soon after the typing stops; Save puts the cursor there, and asks the hub for nothing."""
    site.hub.ensure_device("mast-1")
    portal.open("manage")
    portal.wait_value("twin-desired", "{}")
    portal.type("twin-desired", '{\n"a": 1,\n"b" 2}')
    browser.wait_text("#twin-desired-error", "line 3, column 5: expected :")
    field = browser.driver.find_element(By.ID, "twin-desired")
    assert field.get_attribute("aria-invalid") == "true"
    portal.click("twin-save")
    assert browser.focused() == "twin-desired"
    assert field.get_property("selectionStart") == len('{\n"a": 1,\n"b" ')
    portal.type("twin-desired", '{"a.b": 1}')
    browser.wait(lambda: browser.text("#twin-desired-error") == "")
    portal.click("twin-save")
    browser.wait_text("#twin-error", "desired properties: 'a.b' is no name")
    portal.click("twin-reset")
    assert browser.value("twin-desired") == "{}"
    portal.type("method-payload", "[1, 2")
    portal.click("method-call")
    browser.wait_text("#method-payload-error", "line 1, column 6: expected , or ], but the text ends")
    assert site.hub.method_calls("mast-1") == []
    assert site.hub.store.twins.get("mast-1").version == 1


def test_somebody_elses_change_of_a_twin_is_told(site: Site, portal: Portal, browser: Browser) -> None:
    """What was typed is kept and overwrites only when told to; an untouched twin shows what it is now."""
    site.hub.ensure_device("mast-1")
    portal.open("manage")
    portal.wait_value("twin-desired", "{}")
    site.hub.identities.update_twin("mast-1", desired={"theirs": 1})
    portal.wait_value("twin-desired", '"theirs": 1')
    assert browser.text("#twin-conflict") == ""

    portal.type("twin-desired", '{"mine": 1}')
    site.hub.identities.update_twin("mast-1", desired={"theirs": 2})
    browser.wait_text("#twin-conflict", "The twin was changed meanwhile, to this. Yours is not saved.")
    browser.wait_text("#twin-theirs", '"theirs": 2')
    portal.click("twin-save")
    browser.wait(
        lambda: browser.driver.find_element(By.ID, "twin-save").get_attribute("aria-disabled") is None
    )
    assert browser.value("twin-desired") == '{"mine": 1}'
    assert site.hub.store.twins.get("mast-1").desired.values == {"theirs": 2}
    browser.wait_text("#twin-reset", "Drop mine, show theirs")
    portal.click("twin-reset")
    portal.wait_value("twin-desired", '"theirs": 2')
    browser.wait(lambda: browser.text("#twin-conflict") == "")
    portal.type("twin-desired", '{"theirs": 2, "mine": 1.0}')
    portal.click("twin-save")
    portal.wait_value("twin-desired", '"mine": 1.0')
    browser.wait_text("#twin-said", "Saved.")
    portal.click("twin-save")
    browser.wait_text("#twin-said", "Nothing was different.")
    assert site.hub.store.twins.get("mast-1").desired.version == 4

    portal.type("twin-desired", '{"mine": 2}')
    site.hub.identities.update_twin("mast-1", desired={"theirs": 3})
    browser.wait_text("#twin-theirs", '"theirs": 3')
    portal.click("twin-keep")
    browser.wait(lambda: browser.text("#twin-conflict") == "")
    assert browser.focused() == "twin-save"
    browser.press(Keys.ENTER)
    browser.wait_text("#twin-said", "Saved.")
    assert site.hub.store.twins.get("mast-1").desired.values == {"mine": 2}


def test_what_was_typed_outlives_a_look_elsewhere(site: Site, portal: Portal, browser: Browser) -> None:
    """Another view, another device and a lost connection keep it; a change meanwhile is still told."""
    site.hub.ensure_device("mast-1")
    site.hub.ensure_device("mast-2")
    portal.open("manage")
    portal.choose("mast-1")
    portal.wait_value("twin-desired", "{}")
    portal.type("twin-desired", '{"mine": 1}')
    portal.click("tab-wind")
    portal.click("tab-manage")
    portal.wait_value("twin-desired", '{"mine": 1}')
    portal.choose("mast-2")
    portal.wait_value("twin-desired", "{}")
    site.hub.identities.update_twin("mast-1", desired={"theirs": 1})
    portal.choose("mast-1")
    portal.wait_value("twin-desired", '{"mine": 1}')
    browser.wait_text("#twin-conflict", "changed meanwhile")


def test_views_are_changed_by_keyboard_and_outlive_a_reload(
    site: Site, portal: Portal, browser: Browser
) -> None:
    """Arrow keys, Home and End move between tabs; the address keeps the view beside the token."""
    site.hub.ensure_device("mast-1")
    portal.open("wind")
    shown = "return [...document.querySelectorAll('[role=tabpanel]')].filter((e) => e.checkVisibility())"
    for key, view in (
        (Keys.ARROW_RIGHT, "messages"),
        (Keys.ARROW_RIGHT, "manage"),
        (Keys.ARROW_RIGHT, "wind"),
        (Keys.ARROW_LEFT, "manage"),
        (Keys.HOME, "wind"),
        (Keys.END, "manage"),
    ):
        browser.press(key)
        assert browser.focused() == f"tab-{view}"
        assert browser.driver.execute_script(f"{shown}.map((e) => e.id)") == [f"view-{view}"]
    browser.driver.refresh()
    browser.wait_text("#identity-id", "mast-1")
    assert browser.driver.current_url == f"{site.page.url}&view=manage"
    site.hub.store.events.append([Arrival("mast-1", {}, {}, b'{"windSpeed": 3.5}')])
    browser.driver.refresh()
    browser.wait_text("#identity-id", "mast-1")
    portal.click("tab-wind")
    browser.wait_text("#speed", "3.5")
    path = browser.wait(browser.speed_line)
    assert "NaN" not in path
    assert "-" not in path.replace("m-2", "")
    assert browser.complaints() == []


def test_a_list_that_is_held_still_does_not_move(site: Site, portal: Portal, browser: Browser) -> None:
    """New messages wait until it is let go; readings can be left out; a message is text as it came."""
    site.hub.ensure_device("mast-1")
    site.hub.store.events.append([Arrival("mast-1", {}, {}, b'{"windSpeed": 1.0}')])
    site.hub.store.events.append([Arrival("mast-1", {}, {}, b"<b>hello</b>\n  there")])
    portal.open("messages")
    browser.wait_text("#messages", "<b>hello</b>")
    portal.click("log-still")
    with Device(site.hub, site.hub.device_connection_string("mast-1")) as device:
        device.client.send_message("later")
        browser.wait_text("#devices", "mast-1 connected")
    browser.wait_text("#devices", "mast-1 not connected")
    assert "later" not in browser.text("#messages")
    portal.click("log-still")
    browser.wait_text("#messages", "later")
    portal.click("log-readings")
    browser.wait(lambda: "windSpeed" not in browser.text("#messages"))
    browser.driver.find_elements(By.CSS_SELECTOR, "#messages summary")[1].click()
    browser.wait_text("#messages .body", "<b>hello</b> there")
    body = browser.driver.execute_script("return document.querySelector('#messages pre').textContent")
    assert body == "<b>hello</b>\n  there"


def test_a_method_that_cannot_be_called_says_why(site: Site, portal: Portal, browser: Browser) -> None:
    """Offline, a bad name and a bad time-out, each in one line; nothing of it looks like an answer."""
    site.hub.ensure_device("mast-1")
    portal.open("manage")
    portal.click("method-call")
    browser.wait_text("#method-error", "'mast-1' is not connected")
    assert browser.text("#method-status") == ""
    portal.type("method-name", "a b")
    portal.click("method-call")
    browser.wait_text("#method-error", "method name 'a b'")
    portal.type("method-response", "4")
    portal.click("method-call")
    browser.wait_text("#method-error", "For how many seconds? 5 to 300.")
    assert browser.focused() == "method-response"


def test_json_is_judged_as_the_browser_does(site: Site, browser: Browser) -> None:
    """Whatever is cut out of a text or put in, there is a mistake if and only if JSON.parse finds one; a name
    that comes twice is one, too."""
    browser.open(site.page.url)
    script = """
        const [texts, done] = arguments;
        import("./json.js").then(({ mistake }) => done(texts.map((text) => {
            let valid = true;
            try { JSON.parse(text); } catch { valid = false; }
            return (mistake(text) === null) === valid ? null : text;
        }).filter((text) => text !== null)), (error) => done(String(error)));
    """
    whole = ' {"a": [1, -0.5e+3, true, null, "x\\u00e4\\n"],\t"b": {}, "c": {"d": []}}\n'
    texts = [whole[:i] + whole[i + 1 :] for i in range(len(whole))]
    texts += [whole[:i] + c + whole[i:] for i in range(len(whole)) for c in '{}[],:"\\0-.e \x00x']
    texts += [whole[:i] for i in range(len(whole))]
    texts += [
        "",
        "01",
        "1.",
        "-",
        "1e",
        "+1",
        "tru",
        "'a'",
        '"\\x"',
        '"\\u12"',
        "[1,]",
        "NaN",
        "\ufeff1",
        "\u00a01",
    ]
    assert browser.driver.execute_async_script(script, texts) == []
    told = """
        const [texts, done] = arguments;
        import("./json.js").then(({ mistake }) => done(texts.map((text) => mistake(text)?.words ?? null)));
    """
    assert browser.driver.execute_async_script(told, ['{"a": 1, "a": 2}', "[" * 5000, '{"a": {"a": 1}}']) == [
        'line 1, column 10: "a" is there twice',
        "line 1, column 202: nested too deep",
        None,
    ]


def test_every_control_has_a_name(site: Site, portal: Portal, browser: Browser) -> None:
    """As a screen reader would say it; and ids are there once, and what refers to one finds it."""
    site.hub.ensure_device("mast-1")
    site.hub.store.events.append([Arrival("mast-1", {}, {}, b"x")])
    portal.open("manage")
    browser.wait_text("#identity-id", "mast-1")
    script = """
        const nameless = [...document.querySelectorAll("input, textarea, button, select")].filter((e) =>
            !(e.labels?.length && [...e.labels].some((label) => label.textContent.trim()))
            && !e.textContent.trim() && !e.getAttribute("aria-label"));
        const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
        const lost = ["aria-labelledby", "aria-describedby", "aria-controls", "for", "list"].flatMap((name) =>
            [...document.querySelectorAll(`[${name}]`)].map((e) => e.getAttribute(name)))
            .filter((id) => !ids.includes(id));
        const inline = [...document.querySelectorAll("script:not([src]), style, [style], [onclick]")];
        return [nameless.map((e) => e.outerHTML), ids.filter((id, i) => ids.indexOf(id) !== i), lost,
            inline.map((e) => e.outerHTML)];
    """
    assert browser.driver.execute_script(script) == [[], [], [], []]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_portal_fits_a_phone(site: Site, portal: Portal, browser: Browser, scheme: str) -> None:
    """At 380 pixels nothing sticks out, whatever ids, messages and twins hold; everything can be read."""
    long = "m" * 128
    site.hub.ensure_device(long)
    site.hub.identities.update_twin(long, desired={"p" * 500: "q" * 500}, tags={"t" * 500: 1})
    site.hub.store.twins.report(long, {"r" * 500: "s" * 500})
    site.hub.store.events.append(
        [Arrival(long, {"message-id": "i" * 128}, {"k" * 300: "v" * 300}, b"\xff" * 500)]
    )
    site.hub.store.events.append([Arrival(long, {}, {}, json.dumps({"x": "y" * 5000}).encode())])
    browser.width(380)
    browser.scheme(scheme)
    wider = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    contrast = """
        const parts = (color) => color.match(/[0-9.]+/g).slice(0, 3).map(Number);
        const light = (color) => parts(color).map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const behind = (e) => getComputedStyle(e).backgroundColor;
        const ground = (e) => { while (/, 0\\)$/.test(behind(e))) e = e.parentElement; return behind(e); };
        const kinds = "button, p, dt, dd, h1, h2, h3, span, label, code, pre, textarea, input";
        return [...document.querySelectorAll(kinds)]
            .filter((e) => e.checkVisibility() && (e.innerText || e.value))
            .filter((e) => { const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
                return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5; })
            .map((e) => e.outerHTML.slice(0, 100));
    """
    portal.open("messages")
    for summary in browser.wait(lambda: browser.driver.find_elements(By.CSS_SELECTOR, "#messages summary")):
        summary.click()
    browser.wait_text("#messages", "Body, hexadecimal")
    browser.wait_text("#messages", "yyy")
    assert browser.driver.execute_script(wider) is False
    assert browser.driver.execute_script(contrast) == []
    portal.click("tab-manage")
    portal.wait_value("twin-desired", "qqq")
    assert browser.driver.execute_script(wider) is False
    portal.click("delete")
    browser.wait_text("#delete-title", f"Delete {long}?")
    assert browser.driver.execute_script(wider) is False
    assert browser.driver.execute_script(contrast) == []
    assert browser.complaints() == []
