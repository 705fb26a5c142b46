"""A shop that believes what the proxy in front of it tells: scheme, host, client and the prefix it is mounted at."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from flask import Flask, Response, flash, get_flashed_messages, jsonify, redirect, request, session, url_for
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response as Redirect

app = Flask(__name__)
app.secret_key = "not a secret"
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)


@app.get("/")
def index() -> Response:
    return jsonify(
        url=request.url,
        client=request.remote_addr,
        login=url_for("login", _external=True),
        user=session.get("user"),
        flashed=get_flashed_messages(),
    )


@app.post("/login")
def login() -> Redirect:
    session["user"] = request.form["user"]
    flash("welcome")
    return redirect(url_for("index"))


@app.post("/upload")
def upload() -> Response:
    """Both lengths and chunks: what was sent, and how it came."""
    data = request.stream.read()
    fields = {name: request.headers.get(name) for name in ("Content-Length", "Transfer-Encoding")}
    return jsonify(size=len(data), sha256=hashlib.sha256(data).hexdigest(), **fields)


@app.post("/refuse")
def refuse() -> tuple[str, int]:
    """Answer before the body has been read."""
    return "too much", 413


@app.get("/lines")
def lines() -> Response:
    """A line, and the next one when its file is there: whoever made it has read what came before."""
    gate = Path(request.args["gate"])

    def body() -> Iterator[str]:
        for number in range(4):
            limit = time.monotonic() + 20
            while number and not (gate / str(number)).exists() and time.monotonic() < limit:
                time.sleep(0.01)
            yield f"data: {number}\n\n"

    buffering = {"X-Accel-Buffering": "no"} if "unbuffered" in request.args else {}
    return Response(body(), mimetype="text/event-stream", headers=buffering)


@app.get("/big")
def big() -> Response:
    return Response((b"%08d" % number * 8192 for number in range(160)), mimetype="application/octet-stream")


@app.get("/fail")
def fail() -> None:
    raise RuntimeError("a bug of the shop")


@app.get("/cookie/<int:size>")
def cookie(size: int) -> tuple[str, dict[str, str]]:
    return "ok", {"Set-Cookie": "big=" + "y" * size}
