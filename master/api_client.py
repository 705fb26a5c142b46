"""A client of a running server's API, over its unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from wproxy.upstream_command import CannotChange

TIMEOUT = 15.0  # seconds: longer than a worker waits for the others


class ApiClient(http.client.HTTPConnection):
    """Asks the API at the socket of a path."""

    def __init__(self, path: str, seconds: float = TIMEOUT) -> None:
        """seconds: the time to wait for an answer."""
        super().__init__("localhost", timeout=seconds)
        self._path = path
        self._seconds = seconds

    def connect(self) -> None:
        """Connect to the socket instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON answer to a request for a path below /api/9; raises CannotChange with the server's reason."""
        data = None if body is None else json.dumps(body).encode("ascii")
        status, text = self._exchange(method, f"/api/9{path}", data, {"Content-Type": "application/json"})
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise CannotChange(f'no answer on "{self._path}": {error}') from None
        if status >= 400:
            raise CannotChange(answer["error"]["text"])
        return answer

    def read_metrics(self, names: Sequence[str], kind: str) -> str:
        """Return the page of metrics. names: the beginnings of those that are wanted, none for all. kind: its format."""
        query = f"?name={quote(','.join(names), safe=',')}" if names else ""
        status, text = self._exchange("GET", f"/metrics{query}", None, {"Accept": kind})
        if status >= 400:
            raise CannotChange(text.decode("utf-8", "replace").strip())
        return text.decode("utf-8", "replace")

    def _exchange(self, method: str, path: str, data: bytes | None, fields: dict[str, str]) -> tuple[int, bytes]:
        """Return status and body of the answer. Raises CannotChange."""
        try:
            self.request(method, path, data, {**fields, "Connection": "close"})
            response = self.getresponse()
            return response.status, response.read()
        except (FileNotFoundError, ConnectionRefusedError):
            raise CannotChange(
                f'no server listens on "{self._path}"; is wproxy running with this configuration, and an upstream or a cache? '
                "Started as nginx it has this socket only where api_socket names it"
            ) from None
        except PermissionError:
            raise CannotChange(f'no permission to use "{self._path}": it belongs to another user') from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise CannotChange(f'no answer on "{self._path}": {error}') from None
        finally:
            self.close()
