"""Responses that filters have changed, ours and the real nginx's: compared head by head, their bodies decoded.

Two deflaters may write different bytes for the same body, and frame them in other chunks. So bodies are compared as a client
sees them, and heads whole.
"""

from __future__ import annotations

import re
import socket
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import like_nginx
import pytest
from conversation import Stage
from like_nginx import Case, Site, ask_nginx, ask_worker

from worker.http1.chunked import ChunkedDecoder


class Canned:
    """An upstream that answers each path with what is kept for it, on a port; it stands in the place of the echo."""

    path = "/nowhere"

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        """answers: whole responses, head and body; a HEAD gets the head alone."""
        self._answers = answers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.name = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            with sock:
                data = b""
                while b"\r\n\r\n" not in data and (more := sock.recv(65536)):
                    data += more
                if not data:
                    continue
                method, target, _ = data.split(b" ", 2)
                answer = self._answers.get(target.partition(b"?")[0].decode(), b"HTTP/1.1 404 Not Found\r\n\r\n")
                sock.sendall(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == b"HEAD" else answer)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


def decoded(answer: str) -> str:
    """An answer with its body as the client reads it: without chunks, and inflated."""
    head, blank, text = answer.partition("\r\n\r\n")
    body = text.encode("latin-1")
    if "\r\nTransfer-Encoding: chunked" in head and body:
        decoder = ChunkedDecoder()
        body = decoder.feed(body)
        head += "" if decoder.finished else "\r\n(cut)"
    if "\r\nContent-Encoding: gzip" in head and body:
        inflater = zlib.decompressobj(31)
        body = inflater.decompress(body)
        head += "" if inflater.eof else "\r\n(no end of gzip)"
    boundary = re.search(r"boundary=(\d{20})", head)
    if boundary:
        return (head + blank + body.decode("latin-1")).replace(boundary[1], "BOUNDARY")
    # The name of the server is in pages, whose length is told only where they are not changed.
    return head + blank + re.sub(r"(?<=<hr><center>)(nginx|wproxy|NAME)[^<]*", "NAME", body.decode("latin-1"))


Compare = Callable[..., None]


@pytest.fixture
def filtered_as_nginx(
    tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> Compare:
    """Call it with the text of a `http` block and requests; asserts that the answers are alike once decoded.

    answers: what the upstream at BACK says, by path. files: what lies in DIR/www. Returns our answers.
    """

    def compare(
        http: str,
        cases: Sequence[Case],
        answers: Mapping[str, bytes] | None = None,
        files: Mapping[str, bytes] | None = None,
        at_most: int = 0,
    ) -> list[str]:
        directory = tmp_path_factory.mktemp("site")
        like_nginx._load_nginx_syntax(monkeypatch, directory)
        site = Site(directory)
        site.echo.close()
        site.echo = Canned(answers or {})  # type: ignore[assignment]
        _write_files(directory, files or {})
        try:
            theirs = [decoded(answer) for answer, _ in ask_nginx(site, http, cases, "crit")]
            ours = [decoded(answer) for answer, _ in ask_worker(site, stage, http, cases, "crit")]
        finally:
            site.close()
        found = [
            f"{case!r:.300}\n--- nginx\n{their[:900]}\n--- wproxy\n{our[:900]}"
            for case, their, our in zip(cases, theirs, ours, strict=True)
            if their != our
        ]
        assert len(found) <= at_most, f"{len(found)} of {len(cases)} differ\n\n" + "\n\n".join(found[:20])
        return ours

    return compare


def _write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    import os

    for name, content in files.items():
        path = directory / "www" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1_000_000_000, 1_000_000_000))


def answer(body: bytes, *fields: str, status: str = "200 OK", length: bool = True) -> bytes:
    """A canned response; without a length it ends with its connection."""
    lines = [f"HTTP/1.1 {status}", *fields, *([f"Content-Length: {len(body)}"] if length else []), "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
