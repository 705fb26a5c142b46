"""An encrypted connection to an upstream: the handshake and what has to be true of the peer's certificate.

nginx's words for what fails (ngx_http_upstream_ssl_handshake): a certificate that is not trusted and one for another name are
failures of the kind `error`, and so is a handshake that breaks off; one that takes too long is a `timeout`.
"""

from __future__ import annotations

import _socket

from worker.loop import Loop
from worker.tls.failures import TlsFailure, reason_of
from worker.tls.stream import TlsStream
from worker.upstream.connect import CannotConnect
from worker.upstream.failing import HANDSHAKING
from worker.upstream.tls.connector import Secured
from worker.upstream.tls.peer_name import certificate_is_for
from wproxy.failures import TimedOut, UpstreamFailure
from wproxy.tls.openssl import Session, find_openssl
from wproxy.tls.upstreams import CannotSecure

# OpenSSL's X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, _UNABLE_TO_VERIFY_LEAF_SIGNATURE, _CERT_CHAIN_TOO_LONG.
NO_ISSUER, NOT_VERIFIED, TOO_LONG = 20, 21, 22


class CannotShow(CannotConnect):
    """A certificate whose name has variables cannot be read, or the name to be sent cannot be."""

    level = "error"


class UpstreamTlsStream(TlsStream):
    """A connection to this peer. reason: why its handshake has failed, in the words of nginx Plus's API; "" if it has none."""

    __slots__ = ("_context", "_openssl", "_peer", "_secured", "_wants_session", "reason")

    def __init__(self, loop: Loop, sock: _socket.socket, peer: str, secured: Secured) -> None:
        """peer: its name. Raises CannotShow."""
        connector = secured.connector
        self._wants_session = False
        try:
            context = connector.context_for(secured)
        except CannotSecure as error:
            raise CannotShow(f"{error} while {HANDSHAKING}") from None
        session = connector.session_for(peer, secured, context)
        openssl = find_openssl()
        try:
            if openssl is None:
                assert not isinstance(session, Session)
                super().__init__(loop, sock, context, secured.sent_name or None, session)
            else:
                super().__init__(loop, sock, context, secured.sent_name or None)
                if isinstance(session, Session):
                    openssl.resume(self.tls, session)
        except ValueError:  # the `idna` codec's UnicodeError among them
            raise CannotShow(f'the name "{secured.sent_name}" cannot be sent while {HANDSHAKING}') from None
        self.reason = ""
        self._context, self._peer, self._secured, self._openssl = context, peer, secured, openssl

    async def secure(self, seconds: float) -> None:
        """Shake hands within so many seconds, and look at the certificate. Raises UpstreamFailure."""
        secured = self._secured
        try:
            await self.handshake(seconds)
        except TimedOut:
            self.reason = "handshake_timeout"
            raise UpstreamFailure("timeout", "upstream timed out (110: Connection timed out)", HANDSHAKING) from None
        except OSError as error:
            self.reason = reason_of(error)
            secured.connector.forget_session(self._peer, secured)
            raise self._failure_of(error) from None
        if secured.connector.tls.verifies:
            self._verify()
        if secured.connector.tls.reuses_sessions and (self._openssl is not None or not self.tls.session_reused):
            # Without OpenSSL's own call a session is resumed until the peer does not take it any more, and the ones that come
            # with it are not kept: to copy one costs as much as to resume it saves.
            if self.tls.version() == "TLSv1.3":
                # The ticket comes later, mostly before the first bytes of an answer.
                self._wants_session = True
            else:
                self._keep_session()

    def _verify(self) -> None:
        """Raise UpstreamFailure unless the certificate is for the name, and its chain not too long."""
        tls, secured = self.tls, self._secured
        depth = secured.connector.tls.depth
        # OpenSSL looks at this itself where `wproxy.tls.openssl` is there. Neither the peer's own certificate nor the trusted one
        # counts. A resumed session has no chain: it was looked at before.
        chain = () if tls.session_reused else tls.get_verified_chain()
        if len(chain) > depth + 2:
            self.reason = "other"
            raise failure_of_certificate(TOO_LONG, "")
        if not certificate_is_for(tls.getpeercert() or {}, secured.name):
            self.reason = "hostname_mismatch"
            raise UpstreamFailure("error", f'upstream SSL certificate does not match "{secured.name}"', HANDSHAKING)

    def _failure_of(self, error: OSError) -> UpstreamFailure:
        """Return the failure of a handshake, in nginx's words."""
        if not isinstance(error, TlsFailure):
            reason = f"peer closed connection in SSL handshake ({error.errno}: {error.strerror})"
            return UpstreamFailure("error", reason, HANDSHAKING)
        if not error.verify_code:
            return UpstreamFailure("error", error.text, HANDSHAKING)
        code = error.verify_code
        if code == NO_ISSUER and len(self.tls.get_unverified_chain()) == 1:
            code = NOT_VERIFIED
        return failure_of_certificate(code, error.verify_message)

    def recv(self, most: int) -> bytes:
        """Receive as every stream does; the first time also keep the session that there is then."""
        data = super().recv(most)
        if self._wants_session:
            self._wants_session = False
            self._keep_session()
        return data

    def _keep_session(self) -> None:
        session = self.session if self._openssl is None else self._openssl.session(self.tls)
        self._secured.connector.keep_session(self._peer, self._secured, self._context, session)


def failure_of_certificate(code: int, message: str) -> UpstreamFailure:
    """Return the failure of a certificate that is not trusted.

    nginx goes on after the first error and tells of the last: after a chain that is too long, and after a leaf without any
    issuer, there is another one.
    """
    is_too_long = code == TOO_LONG
    if is_too_long:
        code, message = NO_ISSUER, "unable to get local issuer certificate"
    elif code == NOT_VERIFIED:
        message = "unable to verify the first certificate"
    failure = UpstreamFailure("error", f"upstream SSL certificate verify error: ({code}:{message})", HANDSHAKING)
    failure.limit = "ssl_verify_depth" if is_too_long else ""
    return failure
