"""A client's TLS connection, as variables see it (nginx: ngx_ssl_get_* in src/event/ngx_event_openssl.c).

What the client offered is asked for by few log formats, and put into words only then.
"""

from __future__ import annotations

import functools
import ssl

from worker.tls.client_hello import ClientHello
from wproxy.http import BY_STATUS
from wproxy.tls.openssl import Connection, find_openssl

# The groups of TLS by their numbers, in OpenSSL's short names.
_GROUPS = {
    19: "prime192v1", 21: "secp224r1", 22: "secp256k1", 23: "prime256v1", 24: "secp384r1", 25: "secp521r1", 26: "brainpoolP256r1",
    27: "brainpoolP384r1", 28: "brainpoolP512r1", 29: "X25519", 30: "X448", 256: "ffdhe2048", 257: "ffdhe3072", 258: "ffdhe4096",
    259: "ffdhe6144", 260: "ffdhe8192",
}  # fmt: skip


class TlsSession:
    """A connection after its handshake. hello: what the client offered; None when that could not be read."""

    __slots__ = ("_connection", "_hello", "_verify_result")

    def __init__(self, connection: Connection, hello: ClientHello | None) -> None:
        self._connection = connection
        self._hello = hello
        self._verify_result: tuple[int, str] | None = None

    @property
    def version(self) -> bytes:
        """The version of TLS."""
        return (self._connection.version() or "").encode()

    @property
    def cipher(self) -> bytes:
        """The cipher suite."""
        cipher = self._connection.cipher()
        return cipher[0].encode() if cipher else b""

    @property
    def ciphers(self) -> bytes:
        """The client's cipher suites."""
        return _named(self._hello.ciphers if self._hello else (), cipher_names())

    @property
    def group(self) -> bytes:
        """The group of the key exchange."""
        openssl = find_openssl()
        return openssl.group(self._connection).encode() if openssl else b""

    @property
    def groups(self) -> bytes:
        """The client's groups."""
        return _named(self._hello.groups if self._hello else (), _GROUPS)

    @property
    def signature_algorithms(self) -> bytes:
        """The numbers of the client's signature algorithms."""
        return _named(self._hello.signature_algorithms if self._hello else (), {})

    @property
    def signature_algorithm(self) -> bytes:
        """The algorithm by which we signed the handshake; b"" for a resumed session, and before OpenSSL 3.5, as in nginx."""
        openssl = find_openssl()
        return openssl.signature_algorithm(self._connection, False).encode() if openssl else b""

    @property
    def client_signature_algorithm(self) -> bytes:
        """The algorithm by which the client did, if it has a certificate."""
        openssl = find_openssl()
        return openssl.signature_algorithm(self._connection, True).encode() if openssl else b""

    @property
    def server_name(self) -> bytes:
        """The name of the server, as the client sent it."""
        return self._hello.server_name if self._hello else b""

    @property
    def protocol(self) -> bytes:
        """The application protocol that was agreed on."""
        return (self._connection.selected_alpn_protocol() or "").encode()

    @property
    def session_id(self) -> bytes:
        """The id of the session."""
        openssl = find_openssl()
        return openssl.session_id(self._connection) if openssl else b""

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier session is resumed."""
        return bool(self._connection.session_reused)

    @property
    def certificate(self) -> bytes:
        """The client's certificate."""
        return self._connection.getpeercert(True) or b""

    def refuse_certificate(self, reason: str) -> None:
        """Note why the client's certificate must not be accepted, although OpenSSL has found nothing wrong with it."""
        self._verify_result = BY_STATUS, reason

    @property
    def verify_result(self) -> tuple[int, str]:
        """Return the error of the client's certificate, as a number and words; (0, ...) if there is none."""
        if self._verify_result is None:
            openssl = find_openssl()
            # Without OpenSSL's own calls a handshake with a certificate that is not trusted has failed.
            code = openssl.verify_result(self._connection) if openssl else 0
            self._verify_result = code, openssl.verify_message(code) if openssl else "ok"
        return self._verify_result

    def __repr__(self) -> str:
        return f"<{self._connection.version()} session>"


class Offer:
    """The offer of a client, before anything has been agreed on (a ClientTls)."""

    version = cipher = group = protocol = session_id = certificate = b""
    signature_algorithm = client_signature_algorithm = b""
    is_resumed = False
    verify_result = 0, "ok"

    def __init__(self, hello: ClientHello) -> None:
        self._hello = hello

    @property
    def ciphers(self) -> bytes:
        """The client's cipher suites."""
        return _named(self._hello.ciphers, cipher_names())

    @property
    def groups(self) -> bytes:
        """The client's groups."""
        return _named(self._hello.groups, _GROUPS)

    @property
    def signature_algorithms(self) -> bytes:
        """The numbers of the client's signature algorithms."""
        return _named(self._hello.signature_algorithms, {})

    @property
    def server_name(self) -> bytes:
        """The name of the server, as the client sent it."""
        return self._hello.server_name


def _named(numbers: tuple[int, ...], names: dict[int, str]) -> bytes:
    return ":".join([names.get(number) or f"0x{number:04x}" for number in numbers]).encode()


@functools.cache
def cipher_names() -> dict[int, str]:
    """Return OpenSSL's names of the cipher suites that it has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    found = {cipher["id"] & 0xFFFF: cipher["name"] for cipher in context.get_ciphers()}
    return {**found, 0x00FF: "TLS_EMPTY_RENEGOTIATION_INFO_SCSV", 0x5600: "TLS_FALLBACK_SCSV"}
