"""The test application as plain ASGI, for uvicorn; see flask_app for what it answers.

Besides: /page/NAME sends a page in pieces, the next one each time that /release/NAME is asked for; /events/COUNT sends events that
tell the time (CLOCK_MONOTONIC) at which they were sent.
"""

import asyncio
import hashlib
import json
import time

# Pages that wait to be released, by name.
WAITING = {}


async def app(scope, receive, send):
    """Answer one request; `lifespan` is refused by the exception that ASGI wants for it."""
    assert scope["type"] == "http"
    first, _, rest = scope["path"].strip("/").partition("/")
    if first == "seen":
        length, digest = await read(receive)
        seen = {
            "method": scope["method"],
            "target": scope["raw_path"].decode() + ("?" + scope["query_string"].decode() if scope["query_string"] else ""),
            "fields": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
            "length": length,
            "sha256": digest,
        }
        await answer(send, 200, json.dumps(seen).encode(), b"application/json")
    elif first == "digest":
        length, digest = await read(receive)
        await answer(send, 200, json.dumps({"length": length, "sha256": digest}).encode(), b"application/json")
    elif first == "bytes":
        await answer(send, 200, pattern(int(rest)), b"application/octet-stream")
    elif first == "stream":
        data = pattern(int(rest))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/octet-stream")]})
        for at in range(0, len(data), 50000):
            await send({"type": "http.response.body", "body": data[at : at + 50000], "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    elif first == "page":
        go_on = WAITING[rest] = asyncio.Semaphore(0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        for number in range(5):
            await send({"type": "http.response.body", "body": b"<p>piece %d\n" % number, "more_body": True})
            await go_on.acquire()
        await send({"type": "http.response.body", "body": b""})
    elif first == "release":
        WAITING[rest].release()
        await answer(send, 200, b"released", b"text/plain")
    elif first == "events":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for _ in range(int(rest)):
            await asyncio.sleep(0.02)
            await send({"type": "http.response.body", "body": b"data: %.6f\n\n" % time.monotonic(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    elif first == "status":
        status = int(rest)
        await answer(send, status, b"" if status in (204, 304) else b"status %d" % status, b"text/plain")
    else:
        await answer(send, 404, b"not found", b"text/plain")


async def read(receive):
    """(length, SHA-256) of the body."""
    digest, length = hashlib.sha256(), 0
    while True:
        message = await receive()
        digest.update(message.get("body", b""))
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            return length, digest.hexdigest()


async def answer(send, status, body, content_type):
    fields = [(b"content-type", content_type)]
    if status not in (204, 304):
        fields.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def pattern(size):
    """Bytes that do not repeat soon."""
    block = b"".join(b"%08d" % number for number in range(8192))
    return (block * (size // len(block) + 1))[:size]
