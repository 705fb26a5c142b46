"""OCSP responses that are fetched (`ssl_stapling` without a file): a task for each certificate keeps one, and handshakes find it.

A response is sent until its nextUpdate. It is renewed five minutes earlier, at least every hour and at most every five minutes,
as in nginx; unlike there the first one is fetched when the worker starts, and not when the first client asks. A handshake never
waits: until there is a response the certificate is shown without one.
"""

from __future__ import annotations

from worker.loop import sleep
from worker.resolver.resolver import CannotResolve
from worker.services import Services
from worker.tls.responder import PATIENCE, ask, log_failure
from wproxy.config.model import Server
from wproxy.directives.resolver import SYSTEM
from wproxy.tls.contexts import ServerContext, TlsContexts
from wproxy.tls.ocsp import BadAnswer, Inquiry, Ocsp, find_ocsp
from wproxy.tls.openssl import find_openssl

# Seconds: between renewals; before the end of a response; before the first try after a failure, which doubles up to the shortest
# time between renewals.
LONGEST, SHORTEST = 3600.0, 300.0
AHEAD = 300.0
FIRST_RETRY = 5.0


class Staple:
    """The response about one certificate. response: in DER, b"" for none; valid_until: in unix seconds."""

    __slots__ = ("response", "valid_until")

    def __init__(self) -> None:
        self.response = b""
        self.valid_until = 0.0

    def __repr__(self) -> str:
        return f"<staple of {len(self.response)} bytes>"


class Stapler:
    """All responses of a worker."""

    def __init__(self, services: Services, contexts: TlsContexts) -> None:
        self._services = services
        self._clock = services.loop.clock
        self._staples: dict[int, Staple] = {}  # by OpenSSL's address of the certificate
        self._contexts = [context for context in dict.fromkeys(contexts.of.values()) if context.inquiries]

    def start(self) -> None:
        """Fetch from now on."""
        openssl, ocsp = find_openssl(), find_ocsp()
        assert openssl is not None and ocsp is not None, "without them nothing is inquired"
        # Contexts with and without HTTP/2 show the same certificates.
        shared: dict[tuple[Server, bytes], Staple] = {}
        for context in self._contexts:
            assert context.context is not None
            for inquiry in context.inquiries:
                key = context.server, inquiry.request
                if key not in shared:
                    shared[key] = Staple()
                    keeping = self._keep_fresh(ocsp, shared[key], context, inquiry)
                    self._services.loop.spawn(keeping, f"OCSP response about {inquiry.name}")
                self._staples[inquiry.certificate] = shared[key]
            openssl.staple(context.context, self.find)

    def find(self, certificate: int) -> bytes:
        """Return the response about a certificate; b"" without a valid one."""
        staple = self._staples.get(certificate)
        return staple.response if staple is not None and staple.valid_until >= self._clock.wall else b""

    async def _keep_fresh(self, ocsp: Ocsp, staple: Staple, context: ServerContext, inquiry: Inquiry) -> None:
        """Fetch a response again and again."""
        clock = self._clock
        retry = FIRST_RETRY
        while True:
            try:
                await self._renew(ocsp, staple, context, inquiry)
            except (BadAnswer, CannotResolve, OSError) as error:
                log_failure(context.server.locations.fallback.route.log, inquiry, error)
                pause, retry = retry, min(2 * retry, SHORTEST)
            else:
                retry = FIRST_RETRY
                pause = max(min(staple.valid_until - AHEAD - clock.wall, LONGEST), SHORTEST)
            await sleep(pause)

    async def _renew(self, ocsp: Ocsp, staple: Staple, context: ServerContext, inquiry: Inquiry) -> None:
        """Fetch a response once. Raises BadAnswer, CannotResolve, OSError."""
        assert context.context is not None
        settings = context.server.locations.fallback
        resolver = self._services.discovery.resolver(settings.resolver or SYSTEM)
        response = await ask(resolver, inquiry.responder, inquiry.request, PATIENCE, settings.resolver_timeout)
        valid_until = ocsp.judge(context.context, inquiry, response, context.server.ssl_stapling_verify)
        staple.response, staple.valid_until = response, valid_until

    def __repr__(self) -> str:
        return f"<stapler of {len(self._staples)} certificates>"
