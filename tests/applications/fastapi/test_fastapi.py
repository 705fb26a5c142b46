"""FastAPI under uvicorn below a prefix: tokens of a model as they are made, uploads as they are sent, and a websocket."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from applications.client import Answer, Browser
from applications.fronts import Front, Fronts
from applications.programs import PYTHON, Program, needed
from bench.ports import free_port

HERE = Path(__file__).parent
CONTENT = os.urandom(3 << 20)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def api(directory: Path, run: Callable[[Program], Program], fronts: Callable[..., Fronts]) -> Fronts:
    port = free_port()
    words = f"--host 127.0.0.1 --port {port} --proxy-headers --forwarded-allow-ips 127.0.0.1 api:app".split()
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    run(Program("uvicorn", [needed(PYTHON / "uvicorn"), *words], directory, port, environment, HERE))
    return fronts(HERE / "nginx.conf", API=port)


def test_urls_and_redirects_have_the_prefix(api):
    def flow(front: Front) -> list[Answer]:
        browser = Browser(front)
        return [browser.get(path) for path in ("/api/seen", "/api/items", "/api/items/", "/", "/api/docs", "/api/openapi.json")]

    seen, items, all_items, home, docs, schema = api.compare(flow)
    assert json.loads(seen.body)["client"] == "127.0.0.1"
    assert json.loads(seen.body)["docs"] == "http://127.0.0.1:PORT/api/docs"
    assert (items.status, items["location"]) == (307, "http://127.0.0.1:PORT/api/items/")
    assert all_items.body == b"[1,2,3]"
    assert (home.status, home["location"]) == (302, "http://127.0.0.1:PORT/api/docs")
    assert b"'/api/openapi.json'" in docs.body
    assert json.loads(schema.body)["servers"] == [{"url": "/api"}]


@pytest.mark.parametrize("kind", ["lines", "events"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_each_token_comes_when_it_is_made(api, kind, coding):
    def flow(front: Front) -> list[object]:
        browser, name = Browser(front), f"{front.name}-{kind}-{coding}"
        with browser.stream(f"/api/tokens/{kind}/{name}", Accept_Encoding=coding) as stream:
            pieces = [stream.piece()]
            for number in range(1, 4):
                browser.request("POST", f"/api/gate/{name}-{number}")
                pieces.append(stream.piece())
            stream.rest()
        return [stream.fields, len(pieces) if dict(stream.fields).get("content-encoding") else pieces]

    fields, pieces = api.compare(flow)
    is_coded = coding == "gzip" and kind == "lines"
    assert dict(fields).get("content-encoding") == ("gzip" if is_coded else None)
    word = b'{"token": %d}\n' if kind == "lines" else b"data: %d\n\n"
    assert pieces == (4 if is_coded else [word % number for number in range(4)])


def test_a_client_that_has_left_is_missed_by_the_application(api):
    def flow(front: Front) -> bytes:
        browser = Browser(front)
        with socket.create_connection(("127.0.0.1", front.port), 30) as sock:
            sock.sendall(f"GET /api/endless/{front.name} HTTP/1.1\r\nHost: api\r\n\r\n".encode())
            assert sock.recv(1 << 16)
        return browser.get(f"/api/left/{front.name}").body

    assert api.compare(flow) == b"true"


@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_a_body_passes_as_it_is_sent(api, in_chunks):
    pieces = [CONTENT[start : start + 50_000] for start in range(0, len(CONTENT), 50_000)]
    answer = api.compare(lambda front: Browser(front).request("POST", "/api/raw", pieces if in_chunks else CONTENT))
    told = json.loads(answer.body)
    assert (told["size"], told["sha256"]) == (len(CONTENT), DIGEST)
    assert told["transfer-encoding"] == ("chunked" if in_chunks else None)
    assert told["content-length"] == (None if in_chunks else str(len(CONTENT)))


def test_a_file_of_a_form_arrives(api):
    answer = api.compare(lambda front: Browser(front).upload("/api/file", {}, ("file", "photo.bin", CONTENT)))
    assert json.loads(answer.body) == {"name": "photo.bin", "sha256": DIGEST}


def test_a_websocket_speaks_its_subprotocol_and_closes_with_its_own_code(api):
    def flow(front: Front) -> list[object]:
        url = f"ws://127.0.0.1:{front.port}/api/socket"
        with connect(url, subprotocols=["chat.v1", "chat.v2"], max_size=1 << 23, proxy=None) as client:
            seen: list[object] = [client.subprotocol, json.loads(client.recv(30))]
            for message in ("text: äö", CONTENT):
                client.send(message)
                seen.append(client.recv(30) == message)
            seen.append(client.ping().wait(30))
            client.send("close")
            with pytest.raises(ConnectionClosed):
                client.recv(30)
            return [*seen, client.close_code, client.close_reason]

    hello = {"client": "127.0.0.1", "offered": ["chat.v1", "chat.v2"]}
    assert api.compare(flow) == ["chat.v1", hello, True, True, True, 4001, "as you said"]
