"""Failures of TLS, in the words of nginx's log (nginx: ngx_ssl_connection_error, ngx_ssl_error)."""

from __future__ import annotations

import _ssl
import errno
import ssl

from wproxy.failures import TimedOut
from wproxy.tls.openssl import find_openssl

HANDSHAKING = "SSL_do_handshake()"
READING = "SSL_read()"
WRITING = "SSL_write()"

# Mistakes of the other side, and of those who only knock: nginx logs them at the level of a client that leaves. Since OpenSSL 3.2
# any wrong record is a failure of the record layer for Python; the reason for that is lost.
_ITS_MISTAKES = frozenset((
    "APPLICATION_DATA_AFTER_CLOSE_NOTIFY", "BAD_CHANGE_CIPHER_SPEC", "BAD_CIPHER", "BAD_DIGEST_LENGTH", "BAD_ECPOINT",
    "BAD_EXTENSION", "BAD_KEY_SHARE", "BAD_LEGACY_VERSION", "BAD_LENGTH", "BAD_PACKET", "BAD_RECORD_TYPE",
    "BINDER_DOES_NOT_VERIFY", "BLOCK_CIPHER_PAD_IS_WRONG", "CALLBACK_FAILED", "CCS_RECEIVED_EARLY", "CERT_CB_ERROR",
    "CERT_LENGTH_MISMATCH", "CIPHERSUITE_DIGEST_HAS_CHANGED", "CLIENTHELLO_TLSEXT", "DATA_BETWEEN_CCS_AND_FINISHED",
    "DATA_LENGTH_TOO_LONG", "DECRYPTION_FAILED", "DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "DIGEST_CHECK_FAILED",
    "ENCRYPTED_LENGTH_TOO_LONG", "ERROR_IN_RECEIVED_CIPHER_LIST", "EXCESSIVE_MESSAGE_SIZE", "GOT_A_FIN_BEFORE_A_CCS",
    "HTTPS_PROXY_REQUEST", "HTTP_REQUEST", "INAPPROPRIATE_FALLBACK", "INVALID_ALERT", "INVALID_CCS_MESSAGE",
    "LENGTH_MISMATCH", "LENGTH_TOO_SHORT", "MISSING_PSK_KEX_MODES_EXTENSION", "MISSING_SIGALGS_EXTENSION",
    "NO_APPLICATION_PROTOCOL", "NO_CIPHERS_SPECIFIED", "NO_COMPRESSION_SPECIFIED", "NO_RENEGOTIATION", "NO_SHARED_CIPHER",
    "NO_SHARED_GROUPS", "NO_SHARED_SIGNATURE_ALGORITHMS", "NO_SUITABLE_GROUPS", "NO_SUITABLE_KEY_SHARE",
    "NO_SUITABLE_SIGNATURE_ALGORITHM", "PACKET_LENGTH_TOO_LONG", "PARSE_TLSEXT", "PSK_IDENTITY_NOT_FOUND", "RECORD_LAYER_FAILURE",
    "RECORD_LENGTH_MISMATCH", "RECORD_TOO_SMALL", "RENEGOTIATION_MISMATCH", "SCSV_RECEIVED_WHEN_RENEGOTIATING",
    "TOO_MANY_KEY_UPDATES", "TOO_MANY_WARN_ALERTS", "UNEXPECTED_CCS_MESSAGE", "UNEXPECTED_END_OF_EARLY_DATA",
    "UNEXPECTED_EOF_WHILE_READING", "UNEXPECTED_MESSAGE", "UNEXPECTED_RECORD", "UNKNOWN_ALERT_TYPE", "UNKNOWN_PROTOCOL",
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED", "UNSUPPORTED_PROTOCOL", "UNSUPPORTED_SSL_VERSION", "VERSION_TOO_HIGH",
    "VERSION_TOO_LOW", "WRONG_CIPHER_RETURNED", "WRONG_SIGNATURE_TYPE", "WRONG_SSL_VERSION", "WRONG_VERSION_NUMBER",
))  # fmt: skip
_FIRST_ALERT = 1000  # OpenSSL's number of an alert that was received: this and the number of the alert


class TlsFailure(OSError):
    """An encrypted connection has failed, and carries nothing any more.

    text: the reason in nginx's words: "SSL_do_handshake() failed (SSL: error:0A0000C1:SSL routines::no shared cipher)".
    reason: OpenSSL's name of it, such as "NO_SHARED_CIPHER"; "" for an end of the connection. level: that of a
    log line about a client.
    verify_code, verify_message: OpenSSL's reason why the other side's certificate was refused; 0 and "" if it was not.
    """

    def __init__(self, text: str, reason: str = "", level: str = "info", verify_code: int = 0, verify_message: str = "") -> None:
        super().__init__(errno.EPROTO, text)
        self.text = text
        self.reason = reason
        self.level = level
        self.verify_code = verify_code
        self.verify_message = verify_message

    def __str__(self) -> str:
        return self.text


def failure_of(call: str, error: ssl.SSLError) -> TlsFailure:
    """Return the failure that one of OpenSSL's calls has told of."""
    reason = error.reason or ""
    level = "info" if not reason or reason in _ITS_MISTAKES or "_ALERT_" in reason else "crit"
    code, message = 0, ""
    if isinstance(error, ssl.SSLCertVerificationError):
        code, message = error.verify_code, error.verify_message
    return TlsFailure(f"{call} failed (SSL: {described(error)})", reason, level, code, message)


def described(error: ssl.SSLError) -> str:
    """Describe an error as OpenSSL does: `error:0A0000C1:SSL routines::no shared cipher`."""
    reason = error.reason
    if not reason:
        return str(error.strerror or error)
    library, number = code_of(error.library or "SSL", reason)
    openssl = find_openssl()
    words = (openssl.words_of(library, number) if openssl and number else "") or _as_words(reason)
    alert = f":SSL alert number {number - _FIRST_ALERT}" if "_ALERT_" in reason and number > _FIRST_ALERT else ""
    return f"error:{library << 23 | number:08X}:{error.library or 'SSL'} routines::{words}{alert}"


_SSL_LIBRARY = 20  # ERR_LIB_SSL


def code_of(library: str, reason: str) -> tuple[int, int]:
    """Return OpenSSL's numbers of a library and of a reason; zeros where they are not to be had.

    Python has a table of them up to 3.12. Later OpenSSL itself is asked for its words, once for each number that it may have.
    """
    codes: dict[tuple[int, int], str] = getattr(_ssl, "err_codes_to_names", {})
    if codes:
        libraries: dict[int, str] = _ssl.lib_codes_to_names
        return next((code for code, name in codes.items() if name == reason and libraries.get(code[0]) == library), (0, 0))
    openssl = find_openssl()
    if openssl is None or library != "SSL":
        return 0, 0
    reasons, words = openssl.reasons(_SSL_LIBRARY), _as_words(reason)
    # Since OpenSSL 3.2 the alerts that are as old as SSL 3 are "ssl/tls alert ..."; Python names them as before.
    number = reasons.get(words) or reasons.get(words.replace("sslv3 alert", "ssl/tls alert"), 0)
    return _SSL_LIBRARY, number


def _as_words(reason: str) -> str:
    return reason.lower().replace("_", " ")


# Beginnings and ends of OpenSSL's reasons why both sides have no version, or no protocol of ALPN, in common.
_NO_PROTOCOL = (
    "UNSUPPORTED_PROTOCOL",
    "UNSUPPORTED_SSL_VERSION",
    "VERSION_TOO_",
    "WRONG_VERSION_NUMBER",
    "NO_APPLICATION_PROTOCOL",
)
_NO_CIPHER = ("NO_SHARED_CIPHER", "NO_CIPHERS_SPECIFIED", "NO_SHARED_GROUPS", "NO_SUITABLE_")
_REJECTING_ALERTS = ("BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED", "CERTIFICATE_UNKNOWN")
# OpenSSL's numbers of what is wrong with a certificate (x509_vfy.h) that have a word of their own.
_CODES = {10: "expired_cert", 23: "revoked_cert", 62: "hostname_mismatch"}


def reason_of_code(code: int) -> str:
    """Return the word of nginx Plus's API for what is wrong with a certificate."""
    return _CODES.get(code, "other")


def reason_of(error: BaseException) -> str:
    """Return the word of nginx Plus's API for the failure of a handshake; "" if it has none."""
    if isinstance(error, TimedOut):
        return "handshake_timeout"
    if not isinstance(error, TlsFailure):
        return ""
    if error.verify_code:
        return reason_of_code(error.verify_code)
    reason = error.reason
    if "_ALERT_" in reason and reason.endswith(_REJECTING_ALERTS):
        return "peer_rejected_cert"
    if reason.startswith(_NO_CIPHER):
        return "no_common_cipher"
    return "no_common_protocol" if reason.startswith(_NO_PROTOCOL) else ""
