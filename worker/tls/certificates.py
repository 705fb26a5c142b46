"""Certificates with variables in their names: loaded at a handshake, and kept as `ssl_certificate_cache` says.

A context that is kept is keyed by the server's settings and the names of all files. When its time to be valid is over, the files
are looked at: unless they have changed it is valid again.
"""

from __future__ import annotations

import os
import ssl
from collections import OrderedDict

from wproxy.directives.certificates import CertificateCache
from wproxy.http import Request
from wproxy.tls.contexts import CertificateFiles, ServerContext

_Files = tuple[CertificateFiles, ...]
_State = tuple[tuple[int, int, int], ...]


class _Kept:
    """A context that is kept. state: that of its files. checked, used: when it was, in seconds of the loop's clock."""

    __slots__ = ("checked", "context", "state", "used")

    def __init__(self, context: ssl.SSLContext, state: _State, now: float) -> None:
        self.context = context
        self.state = state
        self.checked = self.used = now


class CertificateStore:
    """The contexts of one listener whose certificates were loaded at handshakes; the first one was used longest ago."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[ServerContext, _Files], _Kept] = OrderedDict()

    def context_of(self, server: ServerContext, request: Request, now: float) -> ssl.SSLContext:
        """Return the context for a handshake, of which the request knows the name. Raises NotLoaded."""
        files = files_for(server, request)
        cache: CertificateCache | None = server.server.ssl_certificate_cache
        if cache is None:
            return server.with_certificates(files)
        key = server, files
        kept = self._kept.get(key)
        if kept is not None and now - kept.checked >= cache.valid:
            if _state(server, files) == kept.state:
                kept.checked = now
            else:
                kept = None
        if kept is None:
            kept = self._kept[key] = _Kept(server.with_certificates(files), _state(server, files), now)
        kept.used = now
        self._kept.move_to_end(key)
        self._forget(cache, now)
        return kept.context

    def _forget(self, cache: CertificateCache, now: float) -> None:
        """Forget those that are too many, or were not used for too long."""
        while self._kept:
            key, oldest = next(iter(self._kept.items()))
            if len(self._kept) <= cache.most and now - oldest.used < cache.inactive:
                return
            del self._kept[key]

    def __repr__(self) -> str:
        return f"<store of {len(self._kept)} certificates>"


def files_for(server: ServerContext, request: Request) -> _Files:
    """Return the certificates and keys of a server for this handshake."""
    found = []
    for certificate, key in zip(server.server.ssl_certificate, server.server.ssl_certificate_key):
        texts = [os.fsdecode(template.evaluate(request)) for template in (certificate, key)]
        found.append(CertificateFiles(*texts))
    return tuple(found)


def _state(server: ServerContext, files: _Files) -> _State:
    """Return what changes when one of the files does."""
    states = []
    for name in (name for pair in files for name in pair if not name.startswith("data:")):
        try:
            status = os.stat(server.path(name))
            states.append((status.st_ino, status.st_mtime_ns, status.st_size))
        except OSError:
            states.append((0, 0, 0))
    return tuple(states)
