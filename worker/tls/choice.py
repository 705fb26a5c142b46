"""The server of a TLS connection and of the requests on it (nginx: ngx_http_ssl_servername, ngx_http_set_virtual_server).

The name in the handshake (SNI) chooses a server, with its certificate and all that belongs to TLS. Requests name one again. Where
that is another, it answers too, unless it asks clients for certificates: this client has been asked by the first one, if at all
(421).
"""

from __future__ import annotations

from wproxy.config.model import Listener, Server
from wproxy.failures import ClientError
from wproxy.http import BY_STATUS, ClientTls, Request

# What is wrong with a certificate that nobody vouches for (nginx: ngx_ssl_verify_error_optional): self-signed, or in the chain;
# no issuer at hand; not trusted; a chain of one that cannot be checked.
_NOBODY_VOUCHES = (18, 19, 20, 27, 21)
# The directives that say whose certificates a server trusts.
_TRUST = ("ssl_client_certificate", "ssl_trusted_certificate", "ssl_crl", "ssl_verify_depth")
_ASKED_TRUST = (*_TRUST, "ssl_ocsp", "ssl_ocsp_responder")
_READING = "while reading client request headers"
_PLAIN = f"client sent plain HTTP request to HTTPS port {_READING}"
_OTHER_NAME = f"client attempted to request the server name different from the one that was negotiated {_READING}"


class Choice:
    """The servers for the requests on one TLS connection.

    server: the one that the handshake chose. name: the name by which it did; None when no server has the client's name.
    """

    __slots__ = ("_listener", "_name", "_server", "_tls")

    def __init__(self, listener: Listener, server: Server, name: bytes | None, tls: ClientTls) -> None:
        self._listener = listener
        self._server = server
        self._name = name
        self._tls = tls

    def find_server(self, host: bytes | None, request: Request) -> tuple[Server, ClientError | None]:
        """Return the server for a host, and why it must not answer."""
        # Without a Host it is the default server, whatever the handshake was about: so it is in nginx.
        server = self._listener.servers.find(host, request)
        if server.ssl_verify_client != "off":
            is_other_name = host and self._name is not None and host != self._name
            # nginx lets a client in whom the authorities of another server vouch for, if it sends no name.
            if is_other_name or (server is not self._server and self._tls.certificate and not trust_alike(server, self._server)):
                return self._server, ClientError(421, _OTHER_NAME)
        return server, certificate_refusal(server, self._tls)


def trust_alike(server: Server, other: Server) -> bool:
    """Whether a server trusts the certificates of clients that another one trusts."""
    return all(getattr(server, name) == getattr(other, name) for name in (_TRUST if server.ssl_ocsp == "off" else _ASKED_TRUST))


def certificate_refusal(server: Server, tls: ClientTls) -> ClientError | None:
    """Return why a server refuses a client for its certificate: 495 for a bad one, 496 for none."""
    verify = server.ssl_verify_client
    if verify == "off":
        return None
    code, text = tls.verify_result
    if code and not (verify == "optional_no_ca" and code in _NOBODY_VOUCHES):
        reason = text if code == BY_STATUS else f"({code}:{text})"
        return ClientError(495, f"client SSL certificate verify error: {reason} {_READING}")
    if verify == "on" and not tls.certificate:
        return ClientError(496, f"client sent no required SSL certificate {_READING}")
    return None


class ClearOnTls:
    """The servers for a client that speaks in clear where TLS is spoken: each refuses (497)."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def find_server(self, host: bytes | None, request: Request) -> tuple[Server, ClientError | None]:
        """Return the server for a host, and why it must not answer."""
        return self._listener.servers.find(host, request), ClientError(497, _PLAIN)
