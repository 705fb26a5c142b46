"""The parameters that describe a request to FastCGI, uwsgi and SCGI servers: a CGI environment (RFC 3875, 4; protocols.md §4).

First those of fastcgi_param and the like in their order, then HTTP_HOST unless it is among them, then the client's other fields:
`X-A` becomes HTTP_X_A, unless there is a parameter of that name.

Most requests of a connection repeat its header block, so the parameters that depend on nothing else are written once for each
block and kept with it (`RequestFields.cache`); and if they repeat the request line, too, the whole head is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from worker.http1.fields import join_repeated
from worker.upstream.module_settings import ModuleSettings
from wproxy.directives.pass_to import Parameter
from wproxy.http import Request
from wproxy.template import Evaluate, compile_template
from wproxy.variables import LINE, LOCATION

# Returns what writes the values of a parameter of this name, in a protocol's form. Raises ClientError(500) for one that has none.
Write = Callable[[bytes], Callable[[bytes], bytes]]

_HTTP_HOST: Final = Parameter("HTTP_HOST", compile_template("$host$is_request_port$request_port"), True)

# Fields that are not passed on: Transfer-Encoding, because a body is passed on without its coding, and Host, which is above.
# (The table of field names has dropped Proxy, which would become HTTP_PROXY.)
_NEVER: Final = frozenset((b"transfer-encoding", b"host"))
# Options of Connection that a server behind this protocol has to see. Fields named by others end here, as with HTTP.
_FOR_THE_PEER: Final = frozenset((b"upgrade",))

# A parameter to write: what writes it, the function for its value, and whether it is omitted when empty.
_Row = tuple[Callable[[bytes], bytes], Evaluate, bool]


class ParametersPlan(ABC):
    """The parameters of a location's requests, computed at load. See HeadPlan.

    is_stable: whether what holds for a header block may be kept with it. key: that of the last whole head, in such a keep.
    """

    sends_unknown_length = False  # a program is told the length before the body
    keeps_connections = False

    def __init__(self, settings: ModuleSettings, write: Write) -> None:
        self.is_stable = True
        self.key = object()
        self._write = write
        self._passes_fields: bool = settings.get("pass_request_headers", True)
        parameters: tuple[Parameter, ...] = settings.get("param", ())
        # nginx compares the names of fields in the form that CGI gives them.
        self._set = frozenset(parameter.name.encode() for parameter in parameters)
        if b"HTTP_HOST" not in self._set:
            parameters += (_HTTP_HOST,)
        # Neighbours that hold for a block are one run. Between two runs is a gap for one that changes: its row, and its place.
        self._runs: list[list[_Row] | None] = [[]]
        self._changing: list[tuple[int, Callable[[bytes], bytes], Evaluate, bool]] = []
        for parameter in parameters:
            if parameter.value.constant == b"" and parameter.name.startswith("HTTP_"):
                continue  # it only keeps the client's field from being sent
            name = parameter.name.encode("utf-8", "surrogateescape")
            row = (write(name), parameter.value.evaluate, parameter.if_not_empty)
            last = self._runs[-1]
            if parameter.value.varies > LOCATION:
                self._changing.append((len(self._runs), *row))
                self._runs.append(None)
            elif last is None:
                self._runs.append([row])
            else:
                last.append(row)
        self._follows_line = settings.location.files.root is not None and all(
            parameter.value.varies <= LINE for parameter in parameters
        )

    @abstractmethod
    def written(self, parameters: bytes, length: int) -> bytes:
        """Return the head with these parameters. length: as in WriteHead. Raises ClientError."""

    @abstractmethod
    def asks_to_upgrade(self, request: Request) -> bool:
        """Whether the answer may be 101 Switching Protocols."""

    def head(self, request: Request, length: int) -> bytes:
        """Return the head of a request. Raises ClientError."""
        line = request.line
        as_received = request.path is line.path and request.args is line.args and request.method is line.method
        if as_received:
            known: tuple[object, int, bytes] | None = request.fields.cache.get(self.key)
            if known is not None and known[0] is line and known[1] == length:
                return known[2]
        head = self.written(self._parameters(request), length)
        if as_received and self.is_stable and self._follows_line and line.authority is None and not request.fields.chunked:
            request.fields.remember(self.key, (line, length, head))
        return head

    def _parameters(self, request: Request) -> bytes:
        """Return the parameters of a request, one after the other. Raises ClientError(500)."""
        fields = request.fields
        pieces: list[bytes] | None = fields.cache.get(self)
        if pieces is None or request.line.authority is not None:
            pieces = self._constant(request)
            fields.difference = None  # a connection that waits for its next request need not keep the difference
            if self.is_stable and request.line.authority is None:
                fields.remember(self, pieces)
        if self._changing:
            pieces = pieces.copy()
            for place, write, evaluate, is_optional in self._changing:
                value = evaluate(request)
                if value or not is_optional:
                    pieces[place] = write(value)
        return b"".join(pieces)

    def _constant(self, request: Request) -> list[bytes]:
        """Return the parameters that hold for a header block, with empty gaps for the others."""
        pieces = [b"" if run is None else _run(request, run) for run in self._runs]
        if self._passes_fields:
            pieces.append(self._fields(request))
        return pieces

    def _fields(self, request: Request) -> bytes:
        write, given = self._write, self._set
        dropped = _NEVER
        options = request.fields.connection_options
        if options:
            dropped = dropped | (options - _FOR_THE_PEER)
        values = join_repeated(request.fields.lines)
        named = [(parameter_name(lower), value) for lower, value in values.items() if lower not in dropped]
        return b"".join([write(name)(value) for name, value in named if name not in given])


def _run(request: Request, run: list[_Row]) -> bytes:
    values = [(write, evaluate(request), is_optional) for write, evaluate, is_optional in run]
    return b"".join([write(value) for write, value, is_optional in values if value or not is_optional])


@lru_cache(1024)
def parameter_name(field: bytes) -> bytes:
    """Return the name of the parameter for a field, given in lower case."""
    return b"HTTP_" + field.upper().replace(b"-", b"_")
