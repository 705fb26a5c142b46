"""Variables of a client's TLS connection (nginx: ngx_http_ssl_vars, and ngx_ssl_get_* in src/event/ngx_event_openssl.c).

Without TLS none is found; an empty one is not found either.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from wproxy.http import MONTHS, ClientTls, Request
from wproxy.variables.registry import BLOCK, REQUEST, VARIABLES, Reader, Variable

if TYPE_CHECKING:
    from wproxy.certificate import Certificate

_DAY = 86400
# What is left as it is by percent-encoding (nginx: NGX_ESCAPE_URI_COMPONENT).
_UNRESERVED = "-._~"


def of_connection(read: Callable[[ClientTls], bytes]) -> Reader:
    """Return a reader of a fact about the connection."""

    def found(request: Request) -> bytes | None:
        tls = request.client.tls
        return (read(tls) or None) if tls is not None else None

    return found


def verdict(tls: ClientTls) -> bytes:
    """Return the verdict about the client's certificate: NONE, SUCCESS, or FAILED and the reason."""
    if not tls.certificate:
        return b"NONE"
    code, text = tls.verify_result
    return b"FAILED:" + text.encode() if code else b"SUCCESS"


def pem(tls: ClientTls) -> bytes:
    """Return the client's certificate in PEM."""
    from ssl import DER_cert_to_PEM_cert

    return DER_cert_to_PEM_cert(tls.certificate).encode() if tls.certificate else b""


def pem_of_a_field(tls: ClientTls) -> bytes:
    """Return the same with a tab at the beginning of each further line, as folded header fields once had it."""
    return pem(tls).removesuffix(b"\n").replace(b"\n", b"\n\t")


def escaped_pem(tls: ClientTls) -> bytes:
    """Return the same, percent-encoded."""
    from urllib.parse import quote_from_bytes

    return quote_from_bytes(pem(tls), _UNRESERVED).encode()


def fingerprint(tls: ClientTls) -> bytes:
    """Return the SHA-1 of the client's certificate."""
    from hashlib import sha1

    return sha1(tls.certificate, usedforsecurity=False).hexdigest().encode() if tls.certificate else b""


for _name, _read in {
    "protocol": lambda tls: tls.version,
    "cipher": lambda tls: tls.cipher,
    "ciphers": lambda tls: tls.ciphers,
    "curve": lambda tls: tls.group,
    "curves": lambda tls: tls.groups,
    "sigalg": lambda tls: tls.signature_algorithm,
    "sigalgs": lambda tls: tls.signature_algorithms,
    "client_sigalg": lambda tls: tls.client_signature_algorithm,
    "server_name": lambda tls: tls.server_name,
    "alpn_protocol": lambda tls: tls.protocol,
    "session_id": lambda tls: tls.session_id.hex().encode(),
    "session_reused": lambda tls: b"r" if tls.is_resumed else b".",
    "client_verify": verdict,
    "client_raw_cert": pem,
    "client_cert": pem_of_a_field,
    "client_escaped_cert": escaped_pem,
    "client_fingerprint": fingerprint,
}.items():
    VARIABLES[f"ssl_{_name}"] = Variable(of_connection(_read), BLOCK)


# What is in the certificate of the client.


def of_certificate(read: Callable[[Certificate, float], bytes]) -> Reader:
    """Return a reader of a fact in the client's certificate; not found where that is no certificate that can be read."""

    def found(request: Request) -> bytes | None:
        from wproxy.certificate import read_certificate

        tls = request.client.tls
        der = tls.certificate if tls is not None else b""
        if not der:
            return None
        try:
            return read(read_certificate(der), request.client.clock.wall) or None
        except ValueError:
            return None

    return found


def shown_time(second: int) -> bytes:
    """Return a time as OpenSSL prints it: `Nov  2 13:53:25 2026 GMT`."""
    at = time.gmtime(second)
    shown = f"{MONTHS[at.tm_mon - 1]} {at.tm_mday:2} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} {at.tm_year} GMT"
    return shown.encode("ascii")


def distinguished_name(name: tuple[tuple[str, str], ...]) -> bytes:
    """Return a name as RFC 2253 has it, bytes beyond ASCII in hex: `CN=example.com,O=Example`."""
    from wproxy.certificate import shown_name

    return b"".join(
        bytes((byte,)) if byte < 0x80 else b"\\%02X" % byte for byte in shown_name(name).encode("utf-8", "surrogateescape")
    )


def legacy_name(name: tuple[tuple[str, str], ...]) -> bytes:
    """Return a name as OpenSSL once had it: `/O=Example/CN=example.com`."""
    written = "".join(f"/{attribute}={value}" for attribute, value in name).encode("utf-8", "surrogateescape")
    return b"".join(bytes((byte,)) if 0x20 <= byte < 0x7F else b"\\x%02X" % byte for byte in written)


def serial(number: bytes) -> bytes:
    """Return a serial number in hex."""
    value = int.from_bytes(number, "big", signed=True)
    digits = f"{abs(value):X}"
    return f"{'-' * (value < 0)}{'0' * (len(digits) % 2)}{digits}".encode()


def days_left(end: int, now: float) -> bytes:
    """Return the number of whole days until a time; 0 afterwards."""
    return b"%d" % max(0, int((end - now) // _DAY))


for _name, _of, _varies in (
    ("s_dn", lambda one, now: distinguished_name(one.subject), BLOCK),
    ("i_dn", lambda one, now: distinguished_name(one.issuer), BLOCK),
    ("s_dn_legacy", lambda one, now: legacy_name(one.subject), BLOCK),
    ("i_dn_legacy", lambda one, now: legacy_name(one.issuer), BLOCK),
    ("serial", lambda one, now: serial(one.serial), BLOCK),
    ("v_start", lambda one, now: shown_time(one.not_before), BLOCK),
    ("v_end", lambda one, now: shown_time(one.not_after), BLOCK),
    ("v_remain", lambda one, now: days_left(one.not_after, now), REQUEST),
):
    VARIABLES[f"ssl_client_{_name}"] = Variable(of_certificate(_of), _varies)
