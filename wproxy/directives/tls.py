"""TLS with clients: certificates, protocols, sessions, and the certificates of clients (nginx: ngx_http_ssl_module.c)."""

from __future__ import annotations

from wproxy.config.registry import GATHER, HTTP, SERVER, UNION, directive
from wproxy.directives.certificates import (
    PROTOCOLS,
    CertificateCache,
    SessionCache,
    certificate_cache,
    ocsp_cache,
    session_cache,
)
from wproxy.directives.http_core import memory
from wproxy.directives.open_file_cache import seconds
from wproxy.directives.values import flag, number, text, word, words
from wproxy.directives.zones import Zone
from wproxy.template import Template, compile_template

ABOVE_LOCATION = HTTP | SERVER


def command(name: str, value: str) -> tuple[str, str]:
    """Return a command of OpenSSL's configuration files, which only OpenSSL can judge."""
    return name, value


class TlsDirectives:
    """Directives of servers whose clients use TLS."""

    ssl_certificate: tuple[Template, ...] = directive(
        compile_template,
        ABOVE_LOCATION,
        inherit=GATHER,
        doc="The certificate of the server in PEM, followed by those of its issuers; several with keys of different kinds. After "
        "`data:` the text itself. With variables it is loaded at the handshake.",
    )
    ssl_certificate_key: tuple[Template, ...] = directive(
        compile_template, ABOVE_LOCATION, inherit=GATHER, doc="The key of the certificate in the same place among the others."
    )
    ssl_certificate_cache: CertificateCache | None = directive(
        certificate_cache("ssl_certificate_cache"),
        ABOVE_LOCATION,
        arity=(1, 3),
        default="off",
        doc="How many certificates with variables in their names are kept, how long unused (inactive=), and how long they are "
        "trusted to be the same (valid=).",
    )
    ssl_password_file: str | None = directive(
        text, ABOVE_LOCATION, doc="A file with the passwords of encrypted keys, one on each line, tried in turn."
    )
    ssl_protocols: frozenset[str] = directive(
        words(PROTOCOLS),
        ABOVE_LOCATION,
        arity=(1, 1000),
        default=("TLSv1.2", "TLSv1.3"),
        inherit=UNION,
        doc="The versions of TLS that are spoken. TLSv1 and TLSv1.1 also need `@SECLEVEL=0` in `ssl_ciphers`.",
    )
    ssl_ciphers: str = directive(
        text, ABOVE_LOCATION, default="HIGH:!aNULL:!MD5", doc="The ciphers up to TLS 1.2, in OpenSSL's words."
    )
    ssl_prefer_server_ciphers: bool = directive(
        flag, ABOVE_LOCATION, default="off", doc="Whether the order of the server's ciphers counts, and not that of the client's."
    )
    ssl_ecdh_curve: str = directive(
        text, ABOVE_LOCATION, default="auto", doc="The groups of the key exchange, the best first, separated by colons."
    )
    ssl_dhparam: str | None = directive(text, ABOVE_LOCATION, doc="A file with parameters for DHE ciphers.")
    ssl_buffer_size: int = directive(
        memory, ABOVE_LOCATION, default="16k", doc="The longest record that is sent: shorter ones can be read sooner."
    )
    ssl_session_cache: SessionCache = directive(
        session_cache,
        ABOVE_LOCATION,
        arity=(1, 2),
        default="none",
        doc="How many sessions are kept for clients without tickets: with `shared:` and `ssl_session_tickets off` by all workers "
        "together, otherwise by each for itself.",
    )
    ssl_session_timeout: float = directive(
        seconds, ABOVE_LOCATION, default="5m", doc="How long a session may be resumed, from its first handshake on."
    )
    ssl_session_tickets: bool = directive(
        flag, ABOVE_LOCATION, default="on", doc="Whether clients keep their sessions themselves, encrypted."
    )
    ssl_session_ticket_key: tuple[str, ...] = directive(
        text,
        ABOVE_LOCATION,
        inherit=GATHER,
        doc="A file of 48 or 80 random bytes, the key of tickets that several machines resume; the first encrypts, all decrypt. "
        "Without it the key is made at the start and outlives reloads and upgrades.",
    )
    ssl_reject_handshake: bool = directive(
        flag, ABOVE_LOCATION, default="off", doc="Whether every handshake for this server is refused."
    )
    ssl_verify_client: str = directive(
        word(("off", "on", "optional", "optional_no_ca")),
        ABOVE_LOCATION,
        default="off",
        doc="Whether clients must (on) or may (optional) show a certificate; with optional_no_ca nobody has to vouch for it.",
    )
    ssl_verify_depth: int = directive(
        number(), ABOVE_LOCATION, default="1", doc="The longest chain of issuers of a client's certificate."
    )
    ssl_client_certificate: str | None = directive(
        text, ABOVE_LOCATION, doc="A file with the authorities that vouch for clients; clients are told their names."
    )
    ssl_trusted_certificate: str | None = directive(
        text, ABOVE_LOCATION, doc="A file with further authorities, whose names clients are not told."
    )
    ssl_crl: str | None = directive(text, ABOVE_LOCATION, doc="A file with lists of revoked certificates of clients.")
    ssl_ocsp: str = directive(
        word(("off", "on", "leaf")),
        ABOVE_LOCATION,
        default="off",
        doc="Whether an OCSP responder is asked if the certificate of a client has been revoked, and those above it (on), or the "
        "client's alone (leaf). Its requests are refused unless the answer is good; its sessions are not resumed.",
    )
    ssl_ocsp_responder: str | None = directive(
        text,
        ABOVE_LOCATION,
        doc="The URL, `http://` only, of the responder for `ssl_ocsp`, in place of those that the certificates name.",
    )
    ssl_ocsp_cache: Zone | None = directive(
        ocsp_cache,
        ABOVE_LOCATION,
        default="off",
        doc="The zone in which all workers keep the answers for `ssl_ocsp` as long as they are valid.",
    )
    ssl_stapling: bool = directive(
        flag,
        ABOVE_LOCATION,
        default="off",
        doc="Whether clients that ask are sent an OCSP response: that in `ssl_stapling_file`, or one that each worker fetches "
        "from the responder that the certificate names, and renews in time.",
    )
    ssl_stapling_file: str | None = directive(text, ABOVE_LOCATION, doc="A file with an OCSP response in DER.")
    ssl_stapling_responder: str | None = directive(
        text,
        ABOVE_LOCATION,
        doc="The URL, `http://` only, of the OCSP responder, in place of the one that the certificate names.",
    )
    ssl_stapling_verify: bool = directive(
        flag,
        ABOVE_LOCATION,
        default="off",
        doc="Whether the signature of a fetched OCSP response is verified, by means of `ssl_trusted_certificate`.",
    )
    ssl_conf_command: tuple[tuple[str, str], ...] = directive(
        command,
        ABOVE_LOCATION,
        arity=2,
        inherit=GATHER,
        doc="A command of OpenSSL's configuration files, such as `Ciphersuites TLS_CHACHA20_POLY1305_SHA256`.",
    )
