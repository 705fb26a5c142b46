"""The status of clients' certificates (`ssl_ocsp`): asked for after the handshake, and before the first request is answered.

A client whose certificate has been revoked, is not known to the responder, or cannot be asked about gets its handshake, and then
400 for each request, as one whose certificate is not trusted (nginx: ngx_ssl_ocsp_validate and ngx_ssl_ocsp_get_status). All this
has to be done within the time of the handshake, `client_header_timeout`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from itertools import pairwise

from worker.resolver.resolver import CannotResolve, Resolver
from worker.tls.responder import PATIENCE, ask, log_failure
from worker.tls.status_cache import StatusCache
from wproxy.config.model import Server
from wproxy.directives.resolver import SYSTEM, NameServers
from wproxy.failures import TimedOut
from wproxy.http import Client
from wproxy.tls.contexts import ServerContext
from wproxy.tls.ocsp import GOOD, REVOKED, UNKNOWN, BadAnswer, Inquiry, NoResponder, find_ocsp
from wproxy.tls.openssl import Connection, find_openssl

_FAILED = "certificate status request failed"
_REFUSED = {REVOKED: "certificate revoked", UNKNOWN: "certificate status unknown"}


class ClientStatus:
    """The questions of one server about the certificates of its clients."""

    def __init__(self, server: Server, context: ServerContext, resolver_of: Callable[[NameServers], Resolver]) -> None:
        settings = server.locations.fallback
        openssl, ocsp = find_openssl(), find_ocsp()
        assert openssl is not None and ocsp is not None, "without them the configuration is refused"
        self._openssl = openssl
        self._ocsp = ocsp
        self._responder = context.responder
        self._asks_above = server.ssl_ocsp == "on"
        self._resolver = resolver_of(settings.resolver or SYSTEM)
        self._resolver_timeout = settings.resolver_timeout
        self._clock = self._resolver.loop.clock
        self._cache = StatusCache(context.statuses, self._clock) if context.statuses is not None else None
        # A zone may be that of several servers: a status is only known to those who trust the same.
        self._trust = repr((server.ssl_client_certificate, server.ssl_trusted_certificate, server.ssl_crl)).encode()
        self._log = settings.route.log

    async def find_refusal(self, connection: Connection, client: Client, deadline: float) -> str:
        """Return why a client's certificate must not be accepted; "" if nothing speaks against it but OpenSSL. Raises TimedOut.

        deadline: in seconds of the loop's clock.
        """
        if self._openssl.verify_result(connection):
            return ""  # it is refused for that
        chain = self._ocsp.verified_chain(connection)
        asked = list(pairwise(chain))
        for certificate, issuer in asked if self._asks_above else asked[:1]:
            try:
                inquiry = self._ocsp.inquire_about_client(certificate, issuer, self._responder)
            except NoResponder as error:
                address = client.remote_addr.decode("latin-1")
                server = client.listener.address
                self._log.write("error", f"{error} while SSL handshaking, client: {address}, server: {server}", client.serial)
                return _FAILED
            try:
                status = await self._status(connection.context, inquiry, chain, deadline)
            except (BadAnswer, CannotResolve, OSError) as error:
                log_failure(self._log, inquiry, error, client.serial)
                if self._clock.now >= deadline:
                    raise TimedOut from None
                return _FAILED
            if status != GOOD:
                return _REFUSED[status]
        return ""

    async def _status(self, context: ssl.SSLContext, inquiry: Inquiry, chain: list[int], deadline: float) -> int:
        """Return the status of a certificate. Raises BadAnswer, CannotResolve, OSError."""
        key = b"\0".join((repr(inquiry.responder).encode(), self._trust, inquiry.request))
        if self._cache is not None:
            known = self._cache.find(key)
            if known is not None:
                return known
        left = deadline - self._clock.now
        seconds, resolver_seconds = min(PATIENCE, left), min(self._resolver_timeout, left)
        answer = await ask(self._resolver, inquiry.responder, inquiry.request, seconds, resolver_seconds)
        verdict = self._ocsp.judge_client(context, inquiry, answer, chain)
        if self._cache is not None:
            self._cache.keep(key, verdict)
        return verdict.status

    def __repr__(self) -> str:
        return f"<questions about clients, responder: {self._responder}>"
