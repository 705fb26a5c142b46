"""TLS with upstreams (nginx: the proxy_ssl_* of ngx_http_proxy_module.c; protocols.md §1.2)."""

from __future__ import annotations

from wproxy.config.registry import GATHER, HTTP, LOCATION, SERVER, UNION, directive
from wproxy.directives.certificates import PROTOCOLS, CertificateCache, certificate_cache
from wproxy.directives.values import flag, number, text, words
from wproxy.template import Template, compile_template

LEVELS = HTTP | SERVER | LOCATION


def command(name: str, value: str) -> tuple[str, str]:
    """Read the name and value of an OpenSSL configuration command."""
    return name, value


class ProxyTlsDirectives:
    """How connections to upstreams are encrypted, whom they trust, and who they say they are."""

    proxy_ssl_server_name: bool = directive(
        flag, LEVELS, default="off", doc="Whether the handshake with an upstream names the server that is meant (SNI)."
    )
    proxy_ssl_name: Template | None = directive(
        compile_template,
        LEVELS,
        doc="The name that the handshake gives and the certificate has to be for; without it the host of proxy_pass.",
    )
    proxy_ssl_verify: bool = directive(
        flag, LEVELS, default="off", doc="Whether an upstream's certificate has to be trusted and to be for the name."
    )
    proxy_ssl_verify_depth: int = directive(
        number(), LEVELS, default="1", doc="The most certificates between that of an upstream and a trusted one."
    )
    proxy_ssl_trusted_certificate: str | None = directive(
        text, LEVELS, doc="The file of the authorities that an upstream's certificate may come from."
    )
    proxy_ssl_crl: str | None = directive(text, LEVELS, doc="The file of revoked certificates, for all authorities of a chain.")
    proxy_ssl_certificate: Template | None = directive(
        compile_template, LEVELS, doc="The file of the certificate to show to upstreams; empty for none."
    )
    proxy_ssl_certificate_key: Template | None = directive(
        compile_template, LEVELS, doc="The file of the key of proxy_ssl_certificate."
    )
    proxy_ssl_certificate_cache: CertificateCache | None = directive(
        certificate_cache("proxy_ssl_certificate_cache"),
        LEVELS,
        arity=(1, 3),
        doc="How many certificates with variables in their names are kept: max=N. They are read again when their files change.",
    )
    proxy_ssl_password_file: str | None = directive(
        text, LEVELS, doc="The file of the passphrases of the key, one a line; each is tried."
    )
    proxy_ssl_protocols: frozenset[str] = directive(
        words(PROTOCOLS),
        LEVELS,
        arity=(1, 1000),
        default=("TLSv1.2", "TLSv1.3"),
        inherit=UNION,
        doc="The versions of TLS that are used with upstreams.",
    )
    proxy_ssl_ciphers: str = directive(text, LEVELS, default="DEFAULT", doc="The ciphers that are offered to upstreams.")
    proxy_ssl_session_reuse: bool = directive(
        flag, LEVELS, default="on", doc="Whether a new connection resumes the session of an earlier one."
    )
    proxy_ssl_conf_command: tuple[tuple[str, str], ...] = directive(
        command, LEVELS, arity=2, inherit=GATHER, doc="A configuration command of OpenSSL for connections to upstreams."
    )
