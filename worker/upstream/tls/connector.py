"""Connectors: how one kind of connection to upstreams is encrypted, with the sessions that further connections may resume.

There is one for all locations with equal settings. What may differ from request to request is in its `Secured`: the name, and the
certificate to show. Both are part of the manner in which a connection is opened, so that no request gets a connection on which
another name was verified or another certificate shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from wproxy.upstream_tls import DATA, UpstreamTls

if TYPE_CHECKING:
    import ssl

    from wproxy.tls.openssl import Session
    from wproxy.tls.upstreams import UpstreamContext

# The sessions that each connector remembers.
MOST_SESSIONS = 1024


class Secured(NamedTuple):
    """The TLS part of the manner in which a connection is opened.

    name: the name that the certificate must be valid for. sent_name: the name in the handshake (SNI), "" for none. certificate,
    key: the files to present if they depend on the request, else "".
    """

    connector: Connector
    name: str = ""
    sent_name: str = ""
    certificate: str = ""
    key: str = ""


class Connector:
    """The state that connections with the same settings share. tls: the settings."""

    def __init__(self, tls: UpstreamTls, made: UpstreamContext | None = None) -> None:
        """made: by the master; None: it is made when it is needed."""
        self.tls = tls
        self._made = made
        # With what was known of the files when they were read.
        self._contexts: dict[tuple[str, str], tuple[object, ssl.SSLContext]] = {}
        # With the context that a session belongs to: OpenSSL refuses it in another.
        self._sessions: dict[tuple[str, Secured], tuple[ssl.SSLContext, Session | ssl.SSLSession]] = {}

    def context_for(self, secured: Secured) -> ssl.SSLContext:
        """Return the context for a connection. Raises CannotSecure."""
        if self._made is None:
            from wproxy.tls.upstreams import UpstreamContext

            self._made = UpstreamContext(self.tls)
        if not secured.certificate:
            return self._made.context
        pair = (secured.certificate, secured.key)
        state = tuple(map(_state_of, pair))
        known = self._contexts.pop(pair, None)
        if known is None or known[0] != state:
            known = state, self._made.with_certificate(*pair)
        self._contexts[pair] = known  # the last used one is the last
        if len(self._contexts) > self.tls.kept_certificates:
            del self._contexts[next(iter(self._contexts))]
        return known[1]

    def session_for(self, peer: str, secured: Secured, context: ssl.SSLContext) -> Session | ssl.SSLSession | None:
        """Return a session with this peer to resume in this context."""
        owner, session = self._sessions.get((peer, secured), (None, None))
        return session if owner is context else None

    def keep_session(
        self, peer: str, secured: Secured, context: ssl.SSLContext, session: Session | ssl.SSLSession | None
    ) -> None:
        """Keep a session for further connections to this peer; the newest is the one."""
        if session is None or not self.tls.reuses_sessions:
            return
        key = (peer, secured)
        self._sessions.pop(key, None)
        self._sessions[key] = context, session
        if len(self._sessions) > MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]

    def forget_session(self, peer: str, secured: Secured) -> None:
        """Forget a session: the handshake that offered it has failed."""
        self._sessions.pop((peer, secured), None)

    def __repr__(self) -> str:
        return f"<connector with {len(self._sessions)} sessions>"


def _state_of(path: str) -> object:
    """Return what changes with a file's content; None if there is no file."""
    if path.startswith(DATA):
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class Connectors:
    """The connectors of a worker, one for all locations with equal settings."""

    def __init__(self, contexts: Mapping[UpstreamTls, UpstreamContext]) -> None:
        """contexts: those that the master has made."""
        self._contexts = contexts
        self._made: dict[UpstreamTls, Connector] = {}

    def for_settings(self, tls: UpstreamTls) -> Connector:
        """Return the connector of these settings."""
        made = self._made.get(tls)
        if made is None:
            made = self._made[tls] = Connector(tls, self._contexts.get(tls))
        return made

    def __repr__(self) -> str:
        return f"<{len(self._made)} connectors>"
