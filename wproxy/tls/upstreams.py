"""OpenSSL's contexts for connections to upstreams, made of the settings of locations (`wproxy.upstream_tls`)."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wproxy.tls.contexts import InMemory, on_disk, reason_of, set_versions
from wproxy.tls.openssl import Refused, find_openssl
from wproxy.upstream_tls import UpstreamTls

# OpenSSL refuses the signatures of old versions unless everything is allowed.
_OLD = ("tlsv1", "tlsv1.1")


class CannotSecure(Exception):
    """A context cannot be made; the message is in nginx's words, with the file."""


class UpstreamContext:
    """The context of some settings, and those like it with other certificates.

    The files that are not certificates of ours are read once, by root: a worker that makes a further context may not be able to.
    """

    def __init__(self, tls: UpstreamTls) -> None:
        """Raises CannotSecure."""
        self.tls = tls
        self._contents: dict[str, bytes] = {}
        self.context = self.with_certificate(tls.certificate, tls.key)

    def with_certificate(self, certificate: str, key: str) -> ssl.SSLContext:
        """Make a context that shows this certificate, "" for none. Raises CannotSecure."""
        tls = self.tls
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # names are compared as nginx does: worker.upstream.tls.peer_name
        context.verify_mode = ssl.CERT_REQUIRED if tls.verifies else ssl.CERT_NONE
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_IGNORE_UNEXPECTED_EOF
        set_versions(context, tls.protocols)
        ciphers = tls.ciphers
        if any(version in tls.protocols for version in _OLD) and "@SECLEVEL" not in ciphers:
            ciphers += ":@SECLEVEL=0"
        with _blamed(f'SSL_CTX_set_cipher_list("{tls.ciphers}") failed'):
            context.set_ciphers(ciphers)
        self._load("certificates", tls.trusted, context.load_verify_locations)
        self._load("revocation list", tls.revoked, context.load_verify_locations)
        openssl = find_openssl()
        if openssl is not None:
            openssl.show_own_chain(context)
            if tls.verifies:
                openssl.set_verify_depth(context, tls.depth)
        if tls.revoked:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        passwords = self._read("passphrases", tls.passwords).splitlines() or [b""]
        if certificate:
            _load_certificate(context, certificate, key, passwords)
        if tls.alpn:
            context.set_alpn_protocols(list(tls.alpn))
        _carry_out(context, tls.commands)
        return context

    def _load(self, what: str, path: str, load: Callable[[str], object]) -> None:
        if path:
            with InMemory(self._read(what, path)) as in_memory, _blamed(f'cannot load {what} "{path}"'):
                load(in_memory)

    def _read(self, what: str, path: str) -> bytes:
        """Return what was in a file when it was first read; b"" for no path."""
        if path and path not in self._contents:
            with _blamed(f'cannot load {what} "{path}"'), open(path, "rb") as file:
                self._contents[path] = file.read()
        return self._contents.get(path, b"")

    def __repr__(self) -> str:
        return f"<upstream context for {self.tls.trusted or 'anyone'}>"


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str, passwords: list[bytes]) -> None:
    what = f'cannot load certificate "{certificate}" with the key "{key}"'
    with _blamed(what), on_disk(certificate, str) as certificate_path, on_disk(key, str) as key_path:
        for tried, password in enumerate(passwords, 1):
            try:
                # A function, because without one OpenSSL would ask at the terminal.
                context.load_cert_chain(certificate_path, key_path, lambda password=password: password)
            except (OSError, ValueError):
                if tried == len(passwords):
                    raise
            else:
                break


def _carry_out(context: ssl.SSLContext, commands: tuple[tuple[str, str], ...]) -> None:
    """Carry out the commands of proxy_ssl_conf_command."""
    openssl = find_openssl() if commands else None
    for name, value in commands:
        what = f'SSL_CONF_cmd("{name}", "{value}") failed'
        if openssl is None:
            raise CannotSecure(f"{what}: this Python does not lead to OpenSSL's own calls")
        try:
            openssl.command(context, name, value, is_server=False)
        except Refused as error:
            raise CannotSecure(f"{what}: {error}") from None


@contextmanager
def _blamed(what: str) -> Iterator[None]:
    """Turn OpenSSL's errors into CannotSecure."""
    try:
        yield
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CannotSecure(f"{what}: {reason_of(error)}") from None
