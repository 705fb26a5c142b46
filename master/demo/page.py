"""The front page of a demo application: the names of answering applications, and a box that talks to the websocket echo."""

from __future__ import annotations

import html

# Filled in by replacement, not by format: the style and the script are full of braces.
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>wproxy demo</title>
<style>
 body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; color: #223 }
 h1 { font-size: 1.6rem } h2 { font-size: 1.1rem; margin-top: 2rem }
 code, pre { background: #f2f3f7; border-radius: 4px; padding: .1rem .35rem } pre { padding: .7rem; overflow: auto }
 #answers span { display: inline-block; margin: .15rem; padding: .1rem .6rem; border-radius: 1rem; background: #99a;
   color: #fff; font-size: .85rem }
 #answers .one { background: #2a6fdb } #answers .two { background: #1d8a5a } #answers .three { background: #b4561f }
 #answers .failed { background: #c01f2e }
 input { font: inherit; padding: .2rem .5rem; width: 16rem }
</style>
<h1>wproxy is running</h1>
<p>This page came from the application <b>NAME</b>, one of three behind wproxy. Each second it asks again:</p>
<p id="answers"></p>
<p>Stop one of them with <code>kill -9</code> (the terminal shows the pids) and watch the others take over.</p>
<h2>Websocket echo at <code>/ws/</code></h2>
<form id="form"><input id="message" value="hello"> <button>send</button></form>
<pre id="echo">connecting</pre>
<h2>What the application saw</h2>
<pre>HEAD</pre>
<script>
 const show = (name, failed) => {
   const chip = document.createElement("span");
   chip.textContent = name; chip.className = failed ? "failed" : name;
   const answers = document.getElementById("answers");
   answers.append(chip); if (answers.children.length > 40) answers.firstChild.remove();
 };
 setInterval(() => fetch("/headers", {cache: "no-store"})
   .then(response => response.ok ? response.json() : Promise.reject(response.status))
   .then(seen => show(seen.application), error => show(String(error), true)), 1000);
 const echo = document.getElementById("echo");
 const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws/");
 const say = text => { echo.textContent += "\\n" + text };
 socket.onopen = () => { echo.textContent = "connected" };
 socket.onmessage = event => say("< " + event.data);
 socket.onclose = () => say("closed; reload the page to connect again");
 document.getElementById("form").onsubmit = event => {
   event.preventDefault();
   const text = document.getElementById("message").value;
   say("> " + text); socket.send(text);
 };
</script>
"""


def front_page(name: str, head: str) -> str:
    """Return the page of the application of this name; head is the request head to show."""
    return _PAGE.replace("NAME", html.escape(name)).replace("HEAD", html.escape(head))
