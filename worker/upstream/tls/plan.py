"""How the connections of one location are encrypted, worked out at load; what has variables is evaluated for each request."""

from __future__ import annotations

from collections.abc import Callable

from worker.upstream.tls.connector import Connector, Secured
from worker.upstream.tls.peer_name import bare_name, is_sendable
from wproxy.http import Request
from wproxy.template import Template, literal
from wproxy.upstream_tls import DATA


class SecurePlan:
    """The plan of one location.

    connector: what is shared with locations of equal settings. name: that of the upstream, with or without a port.
    """

    def __init__(
        self,
        connector: Connector,
        name: Template | None,
        host: str,
        sends_name: bool,
        certificate: Template | None,
        key: Template | None,
        absolute: Callable[[str], str],
    ) -> None:
        """name: as configured; None: the host of the target. certificate, key: as configured. absolute: makes paths absolute."""
        self.connector = connector
        self.name = name or literal(host)
        self._sends_name = sends_name
        self._absolute = absolute
        depends = certificate is not None and key is not None and (certificate.constant is None or key.constant is None)
        # A constant pair is in the connector's own context.
        self._pair = (certificate, key) if certificate is not None and key is not None and depends else None

    def constant(self) -> Secured | None:
        """Return what is the same for all requests; None if something depends on the request."""
        if self.name.constant is None or self._pair is not None:
            return None
        return self._secured(self.name.constant, b"", b"")

    def of(self, request: Request) -> Secured:
        """Return how a connection for this request is encrypted."""
        certificate, key = self._pair or (_NOTHING, _NOTHING)
        return self._secured(self.name.evaluate(request), certificate.evaluate(request), key.evaluate(request))

    def _secured(self, name: bytes, certificate: bytes, key: bytes) -> Secured:
        bare = bare_name(name.decode("utf-8", "replace"))
        sent = bare if self._sends_name and is_sendable(bare) else ""
        if not certificate:
            return Secured(self.connector, bare, sent)
        return Secured(self.connector, bare, sent, self._path(certificate), self._path(key))

    def _path(self, value: bytes) -> str:
        text = value.decode("utf-8", "surrogateescape")
        return text if text.startswith(DATA) else self._absolute(text)

    def __repr__(self) -> str:
        return f"<secure plan for {self.name.text}>"


_NOTHING = literal("")
