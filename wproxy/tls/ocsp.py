"""The status of certificates (OCSP, RFC 6960): questions to a responder, and the verdict about its answers, by OpenSSL itself.

Our own certificates are asked about for `ssl_stapling`, those of clients for `ssl_ocsp`. The calls are made through ctypes on
the library that Python has loaded, as in `wproxy.tls.openssl`. Certificates are those of a context or of a connection, which
outlives whoever has one of them (nginx: ngx_event_openssl_stapling.c).
"""

from __future__ import annotations

import _ssl
import ctypes
import functools
import ssl
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from wproxy.address import Address, parse_address
from wproxy.der import GENERALIZED_TIME, Element, seconds
from wproxy.tls.openssl import Connection, connection_address, context_address

_CHAIN, _EXTRA_CHAIN, _SET_CURRENT = 115, 82, 117  # commands of SSL_CTX_ctrl
_FIRST, _NEXT = 1, 2
# Of OCSP_basic_verify: whoever has signed need not be trusted; the issuer and the certificates of the chain are.
_DO_NOT_VERIFY, _TRUST_OTHER = 0x10, 0x200
GOOD, REVOKED, UNKNOWN = range(3)
# How far our clock may be behind that of the responder, in seconds.
_CLOCK_ERROR = 300
_PORT = 80

_LONG, _INT, _POINTER, _TEXT = ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "SSL_CTX_ctrl": (_LONG, (_POINTER, _INT, _LONG, _POINTER)),
    "SSL_CTX_get0_certificate": (_POINTER, (_POINTER,)),
    "SSL_CTX_get_cert_store": (_POINTER, (_POINTER,)),
    "SSL_get0_verified_chain": (_POINTER, (_POINTER,)),
    "OPENSSL_sk_num": (_INT, (_POINTER,)),
    "OPENSSL_sk_value": (_POINTER, (_POINTER, _INT)),
    "OPENSSL_sk_new_null": (_POINTER, ()),
    "OPENSSL_sk_push": (_INT, (_POINTER, _POINTER)),
    "OPENSSL_sk_free": (None, (_POINTER,)),
    "X509_check_issued": (_INT, (_POINTER, _POINTER)),
    "X509_STORE_CTX_new": (_POINTER, ()),
    "X509_STORE_CTX_init": (_INT, (_POINTER, _POINTER, _POINTER, _POINTER)),
    "X509_STORE_CTX_get1_issuer": (_INT, (_POINTER, _POINTER, _POINTER)),
    "X509_STORE_CTX_free": (None, (_POINTER,)),
    "X509_free": (None, (_POINTER,)),
    "i2d_X509": (_INT, (_POINTER, _POINTER)),
    "X509_get1_ocsp": (_POINTER, (_POINTER,)),
    "X509_email_free": (None, (_POINTER,)),
    "OCSP_cert_to_id": (_POINTER, (_POINTER, _POINTER, _POINTER)),
    "OCSP_CERTID_free": (None, (_POINTER,)),
    "OCSP_REQUEST_new": (_POINTER, ()),
    "OCSP_REQUEST_free": (None, (_POINTER,)),
    "OCSP_request_add0_id": (_POINTER, (_POINTER, _POINTER)),
    "i2d_OCSP_REQUEST": (_INT, (_POINTER, _POINTER)),
    "d2i_OCSP_RESPONSE": (_POINTER, (_POINTER, _POINTER, _LONG)),
    "OCSP_RESPONSE_free": (None, (_POINTER,)),
    "OCSP_response_status": (_INT, (_POINTER,)),
    "OCSP_response_status_str": (_TEXT, (_LONG,)),
    "OCSP_response_get1_basic": (_POINTER, (_POINTER,)),
    "OCSP_BASICRESP_free": (None, (_POINTER,)),
    "OCSP_basic_verify": (_INT, (_POINTER, _POINTER, _POINTER, ctypes.c_ulong)),
    "OCSP_resp_find_status": (_INT, (_POINTER, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER)),
    "OCSP_check_validity": (_INT, (_POINTER, _POINTER, _LONG, _LONG)),
    "OCSP_cert_status_str": (_TEXT, (_LONG,)),
    "ASN1_STRING_get0_data": (_POINTER, (_POINTER,)),
    "ASN1_STRING_length": (_INT, (_POINTER,)),
    "ERR_clear_error": (None, ()),
    "ERR_peek_last_error": (ctypes.c_ulong, ()),
    "ERR_error_string_n": (None, (ctypes.c_ulong, _TEXT, ctypes.c_size_t)),
}


class BadAnswer(ValueError):
    """A responder's answer cannot be used; the message is in nginx's words."""


class NoResponder(ValueError):
    """A certificate has no responder that can be asked; the message is in nginx's words."""


class Responder(NamedTuple):
    """Where the status of a certificate is to be had. host: as it is in the URL, for the field Host."""

    address: Address
    host: str
    path: str


class Inquiry(NamedTuple):
    """A question about a certificate.

    name: that of its file, "" for a client's. certificate, issuer: OpenSSL's addresses of them. request: the question, in DER.
    """

    name: str
    certificate: int
    issuer: int
    responder: Responder
    request: bytes


class Verdict(NamedTuple):
    """The status of a certificate: GOOD, REVOKED or UNKNOWN. valid_until: in unix seconds, infinity without a limit."""

    status: int
    valid_until: float


def read_responder(url: str, place: str) -> Responder:
    """Read the URL of a responder. place: where it was found, for the message. Raises NoResponder."""
    if not url:
        raise NoResponder(f"no OCSP responder URL in {place}")
    if url[:7].lower() != "http://":
        raise NoResponder(f'invalid URL prefix in OCSP responder "{url}" in {place}')
    try:
        parts = urlsplit(url)
        address = parse_address(parts.netloc, _PORT)
    except ValueError as error:
        raise NoResponder(f'{error} in OCSP responder "{url}" in {place}') from None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise NoResponder(f'invalid path in OCSP responder "{url}" in {place}')
    return Responder(address, parts.netloc, path)


class Ocsp:
    """The library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Raises AttributeError where the library lacks one of the functions."""
        self._library: Any = library
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments

    def certificates(self, context: ssl.SSLContext) -> list[int]:
        """Return the addresses of the certificates of a context."""
        library, address = self._library, context_address(context)
        current = library.SSL_CTX_get0_certificate(address)
        found: list[int] = []
        step = _FIRST
        while library.SSL_CTX_ctrl(address, _SET_CURRENT, step, None) == 1:
            found.append(library.SSL_CTX_get0_certificate(address))
            step = _NEXT
        self._select(address, current)
        return found

    def der(self, certificate: int) -> bytes:
        """Return a certificate in DER."""
        return self._encoded(self._library.i2d_X509, certificate)

    def _encoded(self, encode: Any, thing: int) -> bytes:
        """Return something in DER. encode: its i2d_ function."""
        buffer = ctypes.create_string_buffer(encode(thing, None))
        encode(thing, ctypes.byref(ctypes.c_void_p(ctypes.addressof(buffer))))
        return buffer.raw

    def _select(self, address: int, certificate: int) -> None:
        """Make a certificate the current one of a context, to which calls refer."""
        library = self._library
        step = _FIRST
        while library.SSL_CTX_ctrl(address, _SET_CURRENT, step, None) == 1:
            if library.SSL_CTX_get0_certificate(address) == certificate:
                return
            step = _NEXT

    def inquire(self, context: ssl.SSLContext, certificate: int, name: str, url: str) -> Inquiry:
        """Return the question about a certificate of a context.

        url: that of the responder, "" for the one that the certificate names. Raises NoResponder.
        """
        issuer = self._issuer(context, certificate)
        if not issuer:
            raise NoResponder(f'issuer certificate not found for certificate "{name}"')
        responder = read_responder(url or self._url(certificate), f'the certificate "{name}"')
        return Inquiry(name, certificate, issuer, responder, self._question(certificate, issuer))

    def inquire_about_client(self, certificate: int, issuer: int, responder: Responder | None) -> Inquiry:
        """Return the question about a client's certificate. responder: None for the one that it names. Raises NoResponder."""
        responder = responder or read_responder(self._url(certificate), "certificate")
        return Inquiry("", certificate, issuer, responder, self._question(certificate, issuer))

    def verified_chain(self, connection: Connection) -> list[int]:
        """Return the addresses of the other side's certificate and of those above it, up to one that is trusted.

        They live as long as the connection. Without a certificate, and in a resumed session, there are none.
        """
        return self._members(self._library.SSL_get0_verified_chain(connection_address(connection)))

    def _members(self, stack: int | None) -> list[int]:
        library = self._library
        return [library.OPENSSL_sk_value(stack, index) for index in range(library.OPENSSL_sk_num(stack) if stack else 0)]

    def _question(self, certificate: int, issuer: int) -> bytes:
        """Return the question about a certificate in DER: the same for the same certificate."""
        library = self._library
        request = library.OCSP_REQUEST_new()
        try:
            library.OCSP_request_add0_id(request, library.OCSP_cert_to_id(None, certificate, issuer))
            return self._encoded(library.i2d_OCSP_REQUEST, request)
        finally:
            library.OCSP_REQUEST_free(request)

    def judge(self, context: ssl.SSLContext, inquiry: Inquiry, answer: bytes, verifies: bool) -> float:
        """Return the unix seconds until which a good answer about a certificate of ours is valid. Raises BadAnswer.

        verifies: whether its signature is checked, by what the context trusts.
        """
        # An issuer that signs by itself does not send its certificate, and a root is in no chain.
        signers = [inquiry.issuer, *self._chain(context, inquiry.certificate)]
        verdict = self._verdict(context, inquiry, answer, signers, _TRUST_OTHER if verifies else _DO_NOT_VERIFY)
        if verdict.status != GOOD:
            words = self._library.OCSP_cert_status_str(verdict.status).decode("ascii", "replace")
            raise BadAnswer(f'certificate status "{words}" in the OCSP response')
        return verdict.valid_until

    def judge_client(self, context: ssl.SSLContext, inquiry: Inquiry, answer: bytes, chain: list[int]) -> Verdict:
        """Return the verdict about a client's certificate. chain: it, and all above it. Raises BadAnswer."""
        return self._verdict(context, inquiry, answer, chain, 0)

    def _verdict(self, context: ssl.SSLContext, inquiry: Inquiry, answer: bytes, signers: list[int], flags: int) -> Verdict:
        """Return the verdict in an answer. signers: certificates that may have signed it. Raises BadAnswer."""
        library = self._library
        buffer = ctypes.create_string_buffer(answer, len(answer))
        place = ctypes.c_void_p(ctypes.addressof(buffer))
        response = library.d2i_OCSP_RESPONSE(None, ctypes.byref(place), len(answer))
        basic = None
        try:
            if not response or (place.value or 0) - ctypes.addressof(buffer) != len(answer):
                raise BadAnswer("d2i_OCSP_RESPONSE() failed")
            status = library.OCSP_response_status(response)
            if status:
                words = library.OCSP_response_status_str(status).decode("ascii", "replace")
                raise BadAnswer(f"OCSP response not successful ({status}: {words})")
            basic = library.OCSP_response_get1_basic(response)
            if not basic:
                raise BadAnswer("OCSP_response_get1_basic() failed")
            self._verify(context, basic, signers, flags)
            return self._status(inquiry, basic)
        finally:
            library.OCSP_BASICRESP_free(basic)
            library.OCSP_RESPONSE_free(response)
            library.ERR_clear_error()

    def _verify(self, context: ssl.SSLContext, basic: int, signers: list[int], flags: int) -> None:
        """Verify the signature of an answer. Raises BadAnswer."""
        library = self._library
        store = library.SSL_CTX_get_cert_store(context_address(context))
        stack = library.OPENSSL_sk_new_null()
        for one in signers:
            library.OPENSSL_sk_push(stack, one)
        is_signed = library.OCSP_basic_verify(basic, stack, store, flags) == 1
        library.OPENSSL_sk_free(stack)
        if not is_signed:
            raise BadAnswer(f"OCSP_basic_verify() failed (SSL: {self._error()})")

    def _error(self) -> str:
        """Return OpenSSL's words for the last thing that went wrong."""
        text = ctypes.create_string_buffer(256)
        self._library.ERR_error_string_n(self._library.ERR_peek_last_error(), text, 256)
        return text.value.decode("utf-8", "replace")

    def _status(self, inquiry: Inquiry, basic: int) -> Verdict:
        """Return what an answer says about the certificate of an inquiry. Raises BadAnswer."""
        library = self._library
        status, since, until = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        subject = library.OCSP_cert_to_id(None, inquiry.certificate, inquiry.issuer)
        try:
            found = library.OCSP_resp_find_status(
                basic, subject, ctypes.byref(status), None, None, ctypes.byref(since), ctypes.byref(until)
            )
        finally:
            library.OCSP_CERTID_free(subject)
        if found != 1:
            raise BadAnswer("certificate status not found in the OCSP response")
        if library.OCSP_check_validity(since, until, _CLOCK_ERROR, -1) != 1:
            raise BadAnswer("OCSP_check_validity() failed")
        return Verdict(status.value, self._seconds(until.value) if until.value else float("inf"))

    def _seconds(self, time: int) -> float:
        data = ctypes.string_at(self._library.ASN1_STRING_get0_data(time), self._library.ASN1_STRING_length(time))
        try:
            return float(seconds(Element(GENERALIZED_TIME, data, data)))
        except ValueError:
            raise BadAnswer("invalid nextUpdate time in certificate status") from None

    def _chain(self, context: ssl.SSLContext, certificate: int) -> list[int]:
        """Return the certificates that are sent with this one."""
        library, address = self._library, context_address(context)
        current = library.SSL_CTX_get0_certificate(address)
        self._select(address, certificate)
        found = ctypes.c_void_p()
        for command in (_CHAIN, _EXTRA_CHAIN):
            library.SSL_CTX_ctrl(address, command, 0, ctypes.byref(found))
            if found.value:
                break
        self._select(address, current)
        return self._members(found.value)

    def _issuer(self, context: ssl.SSLContext, certificate: int) -> int:
        """Return the certificate of the issuer, from the chain or from those that the context trusts; 0 without one."""
        library = self._library
        for one in self._chain(context, certificate):
            if library.X509_check_issued(one, certificate) == 0:
                return one
        trusted = library.X509_STORE_CTX_new()
        found = ctypes.c_void_p()
        try:
            if library.X509_STORE_CTX_init(trusted, library.SSL_CTX_get_cert_store(context_address(context)), None, None) == 1:
                library.X509_STORE_CTX_get1_issuer(ctypes.byref(found), trusted, certificate)
        finally:
            library.X509_STORE_CTX_free(trusted)
            library.ERR_clear_error()
        if found.value:
            library.X509_free(found)  # the context has it, too
        return found.value or 0

    def _url(self, certificate: int) -> str:
        """Return the first URL of a responder that a certificate names; "" without."""
        library = self._library
        urls = library.X509_get1_ocsp(certificate)
        if not urls:
            return ""
        try:
            text = library.OPENSSL_sk_value(urls, 0)
            return ctypes.string_at(text).decode("utf-8", "replace") if text else ""
        finally:
            library.X509_email_free(urls)


@functools.cache
def find_ocsp() -> Ocsp | None:
    """Return the library; None where its calls cannot be made."""
    try:
        return Ocsp(ctypes.CDLL(getattr(_ssl, "__file__", None)))
    except (AttributeError, OSError, TypeError, ValueError):
        return None
