"""The dashboard in a real Chromium: live, by keyboard, on a phone, in the dark, and without a word to anybody else."""

from __future__ import annotations

import pytest
from browser import CHROMIUM, browsing
from harness import Wproxy, until
from wire import ask

pytestmark = [pytest.mark.whole, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]

HTTP = """
proxy_cache_path = [["cache", "keys_zone=pages:1m", "max_size=10m"]]
[http.upstream.app]
server = { "127.0.0.1:1" = {}, "127.0.0.1:2" = {} }
[[http.server]]
listen = "127.0.0.1:{port}"
[http.server.location."/"]
proxy_pass = "http://app"
proxy_cache = "pages"
[http.server.location."/see/"]
dashboard = "write=on"
"""

TEXT = "document.body ? document.body.innerText : ''"  # there is none before the page has begun to load


def press(browser, key: str, code: str, text: str = "") -> None:
    number = {"Enter": 13, "Tab": 9}.get(key, 0)
    common = {"key": key, "code": code, "windowsVirtualKeyCode": number}
    browser.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
    browser.call("Input.dispatchKeyEvent", type="keyUp", **common)


def test_the_dashboard_in_a_browser(tmp_path):
    with Wproxy(tmp_path / "front", HTTP) as front, browsing(tmp_path) as browser:
        for path in ("/a", "/b", "/<img/src=x/onerror=document.title='broken'>"):
            assert ask(front.port, path).status == 502
        browser.events.clear()
        browser.call("Page.navigate", url=f"http://127.0.0.1:{front.port}/see/")

        def shows(text: str) -> None:
            until(lambda: text in browser.evaluate(TEXT), lambda: f"{text} in the page:\n{browser.evaluate(TEXT)}", 20)

        shows("live")
        shows("up_refused")
        shows("is it running, and on that port?")
        shows("unavail since ")
        shows("Resolvers")
        shows("<img/src=x/onerror=")
        assert browser.evaluate("document.title") == "wproxy"
        assert browser.evaluate("document.images.length") == 0
        asked = {
            event["params"]["request"]["url"] for event in browser.events if event.get("method") == "Network.requestWillBeSent"
        }
        assert all(url.startswith((f"http://127.0.0.1:{front.port}/", "data:")) for url in asked), asked

        # By keyboard: a filter, and a server that is drained after a question.
        press(browser, "/", "Slash", "/")
        assert browser.evaluate("document.activeElement.id") == "filter"
        browser.call("Input.insertText", text="127.0.0.1:2")
        until(lambda: "127.0.0.1:1\n" not in browser.evaluate("document.getElementById('groups').innerText"), "a filtered list")
        browser.evaluate("document.querySelector('button[aria-label^=\"drain 127.0.0.1:2\"]').focus()")
        press(browser, "Enter", "Enter", "\r")
        until(lambda: browser.evaluate("document.getElementById('ask').open"), "a question")
        assert browser.evaluate("document.activeElement.id") == "yes"
        press(browser, "Enter", "Enter", "\r")
        shows("draining")
        until(lambda: "draining" in front.command("upstream", "list").output, "a server that drains")

        # A cache is purged, after a question for the key.
        browser.evaluate("document.querySelector('button[aria-label=\"purge pages\"]').click()")
        assert browser.evaluate("document.activeElement.id") == "key"
        browser.call("Input.insertText", text="*")
        browser.evaluate("document.getElementById('yes').click()")
        until(lambda: browser.evaluate("document.getElementById('told').textContent") == "purge of pages is done", "a purge")

        # On a phone nothing sticks out, and in the dark it is dark.
        browser.call("Emulation.setDeviceMetricsOverride", width=320, height=700, deviceScaleFactor=1, mobile=True)
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        assert browser.evaluate("document.documentElement.scrollWidth") == 320
        assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
        assert browser.complaints() == []

        # After a reload the page goes on with the new workers.
        assert front.command("reload").code == 0
        shows("generation 2")
        shows("live")
