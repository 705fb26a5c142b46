"""HTTP as a browser speaks it to a front: cookies, forms, uploads, and bodies that come piece by piece."""

from __future__ import annotations

import http.client
import socket
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie

from applications.fronts import Front

SECONDS = 30.0
_LEFT_OUT = ("date", "server", "x-runtime", "x-request-id")


@dataclass(frozen=True)
class Answer:
    """A response. fields: sorted, with names in lower case, without those that differ by nature."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        """The values of a field, None without one."""
        return ", ".join(value for given, value in self.fields if given == name) or None

    def without_body(self) -> Answer:
        """The same for bodies that are made anew for each request."""
        return Answer(self.status, [(name, value) for name, value in self.fields if name not in ("content-length", "etag")], b"")


class Browser:
    """Keeps cookies; each request has a connection of its own."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.cookies: dict[str, str] = {}

    def request(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, fields: Mapping[str, str] = {}
    ) -> Answer:
        """One request and its whole answer. A body that is not bytes is sent in chunks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.front.port, timeout=SECONDS)
        try:
            connection.request(method, path, body, {**self.cookie_field(), **fields})
            response = connection.getresponse()
            answer = Answer(response.status, fields_of(response), response.read())
        finally:
            connection.close()
        self.remember(answer)
        return answer

    def get(self, path: str, **fields: str) -> Answer:
        """GET; the names of fields are written with underscores."""
        return self.request("GET", path, None, {name.replace("_", "-"): value for name, value in fields.items()})

    def post(self, path: str, form: Mapping[str, str], fields: Mapping[str, str] = {}) -> Answer:
        """POST a form."""
        body = urllib.parse.urlencode(form).encode()
        return self.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded", **fields})

    def upload(
        self, path: str, parts: Mapping[str, bytes], file: tuple[str, str, bytes], fields: Mapping[str, str] = {}
    ) -> Answer:
        """POST a form with a file: its part, its name, its content."""
        body = b"".join(
            b'--=edge=\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
            for name, value in parts.items()
        )
        part, name, content = file
        if part:
            body += b'--=edge=\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n' % (part.encode(), name.encode())
            body += b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"
        return self.request(
            "POST", path, body + b"--=edge=--\r\n", {"Content-Type": "multipart/form-data; boundary==edge=", **fields}
        )

    @contextmanager
    def stream(self, path: str, **fields: str) -> Iterator[Stream]:
        """GET something that comes piece by piece."""
        connection = http.client.HTTPConnection("127.0.0.1", self.front.port, timeout=SECONDS)
        try:
            connection.request(
                "GET", path, None, {**self.cookie_field(), **{name.replace("_", "-"): value for name, value in fields.items()}}
            )
            yield Stream(connection.getresponse())
        finally:
            connection.close()

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are; return all that comes until the other side closes."""
        with socket.create_connection(("127.0.0.1", self.front.port), SECONDS) as sock:
            sock.sendall(data)
            return b"".join(iter(lambda: sock.recv(1 << 16), b""))

    def status_line(self, data: bytes) -> bytes:
        """Send bytes, which may be half a request; return the first line that comes."""
        with socket.create_connection(("127.0.0.1", self.front.port), SECONDS) as sock:
            sock.sendall(data)
            return sock.makefile("rb").readline().rstrip()

    def cookie_field(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}

    def remember(self, answer: Answer) -> None:
        for name, value in answer.fields:
            if name == "set-cookie":
                for key, morsel in SimpleCookie(value).items():
                    self.cookies[key] = morsel.coded_value


class Stream:
    """A response whose body is still on its way."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.status = response.status
        self.fields = fields_of(response)
        self.began = time.monotonic()

    def piece(self) -> bytes:
        """What comes next, empty at the end."""
        return self.response.read1(1 << 16)

    def until(self, text: bytes) -> bytes:
        """All that comes, up to the piece with the text."""
        came = b""
        while text not in came:
            piece = self.piece()
            assert piece, f"the end instead of {text!r}, after {came!r}"
            came += piece
        return came

    def pieces(self) -> list[tuple[float, bytes]]:
        """All pieces to the end, with the seconds since the head came."""
        return [(time.monotonic() - self.began, piece) for piece in iter(self.piece, b"")]

    def rest(self) -> bytes:
        return self.response.read()


def fields_of(response: http.client.HTTPResponse) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in response.getheaders() if name.lower() not in _LEFT_OUT)
