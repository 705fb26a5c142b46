"""An API that streams both ways, below /api/ of its front."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, UploadFile, WebSocket
from fastapi.responses import RedirectResponse, StreamingResponse

app = FastAPI(root_path="/api")
gates: dict[str, asyncio.Event] = {}
left: dict[str, asyncio.Event] = {}


def event(events: dict[str, asyncio.Event], name: str) -> asyncio.Event:
    return events.setdefault(name, asyncio.Event())


@app.get("/seen")
async def seen(request: Request) -> dict[str, Any]:
    return {
        "url": str(request.url),
        "client": request.client.host if request.client else None,
        "docs": str(request.url_for("swagger_ui_html")),
    }


@app.get("/items")
async def items() -> RedirectResponse:
    return RedirectResponse("/items/")


@app.get("/items/")
async def all_items() -> list[int]:
    return [1, 2, 3]


@app.post("/raw")
async def raw(request: Request) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    async for piece in request.stream():
        digest.update(piece)
        size += len(piece)
    fields = {name: request.headers.get(name) for name in ("content-length", "transfer-encoding")}
    return {"size": size, "sha256": digest.hexdigest(), **fields}


@app.post("/file")
async def file(file: UploadFile) -> dict[str, Any]:
    return {"name": file.filename, "sha256": hashlib.sha256(await file.read()).hexdigest()}


@app.post("/double")
async def double(request: Request) -> StreamingResponse:
    """Each piece twice, while the next one is still to be sent."""

    async def body() -> AsyncIterator[bytes]:
        async for piece in request.stream():
            yield piece * 2

    return StreamingResponse(body(), media_type="text/plain")


@app.get("/tokens/{kind}/{name}")
async def tokens(kind: str, name: str) -> StreamingResponse:
    """Words of a model: the next one comes when its gate is opened."""

    async def body() -> AsyncIterator[str]:
        for number in range(4):
            if number:
                await asyncio.wait_for(event(gates, f"{name}-{number}").wait(), 20)
            yield f'{{"token": {number}}}\n' if kind == "lines" else f"data: {number}\n\n"

    kinds = {"lines": "application/x-ndjson", "events": "text/event-stream"}
    return StreamingResponse(body(), media_type=kinds[kind])


@app.post("/gate/{name}")
async def gate(name: str) -> None:
    event(gates, name).set()


@app.get("/endless/{name}")
async def endless(name: str) -> StreamingResponse:
    """More and more, until the client has left."""

    async def body() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"more " * 2000
                await asyncio.sleep(0.01)
        finally:
            event(left, name).set()

    return StreamingResponse(body(), media_type="text/plain")


@app.get("/left/{name}")
async def has_left(name: str) -> bool:
    """Answer when the client of an endless answer has left; false when it does not."""
    try:
        await asyncio.wait_for(event(left, name).wait(), 20)
    except TimeoutError:
        return False
    return True


@app.websocket("/socket")
async def socket(socket: WebSocket) -> None:
    """Say what came before it, then echo; "close" closes with a code of our own."""
    offered = socket.headers.get("sec-websocket-protocol", "").split(", ")
    await socket.accept(subprotocol=offered[0] or None)
    await socket.send_json({"client": socket.client.host if socket.client else None, "offered": offered})
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        if message.get("text") == "close":
            return await socket.close(4001, "as you said")
        if message.get("text") is not None:
            await socket.send_text(message["text"])
        else:
            await socket.send_bytes(message["bytes"])
