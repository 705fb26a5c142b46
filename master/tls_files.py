"""The files in TLS directives: those of servers become contexts, those for upstreams are loaded and forgotten."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from wproxy.config.model import Configuration
from wproxy.config.tls import TlsFiles
from wproxy.config.tree import Position, Problem

if TYPE_CHECKING:
    import ssl

    from wproxy.tls.contexts import TlsContexts


def load_tls(configuration: Configuration) -> tuple[TlsContexts | None, list[Problem]]:
    """Make the contexts of all servers; return them, None when there are none, and the problems with any TLS file, each once."""
    problems: list[Problem] = []
    for path, position in configuration.read_at_start:
        try:
            with open(configuration.path_beside(path), "rb"):
                pass
        except OSError as error:
            problems.append(_unopened(configuration.path_beside(path), error, position))
    for files in dict.fromkeys(configuration.tls_files):
        problems += _problems(configuration, files)
    contexts = None
    if configuration.has_tls:
        from wproxy.tls.contexts import make_contexts, renew_secret  # with ssl it takes 20 ms, needed only for certificates

        renew_secret(time.time())
        contexts, found = make_contexts(configuration, time.time)
        problems += found
    return contexts, list(dict.fromkeys(problems))


def _unopened(path: str, error: OSError, position: Position) -> Problem:
    return Problem(f'open() "{path}" failed ({error.errno}: {error.strerror})', position)


def _problems(configuration: Configuration, files: TlsFiles) -> Iterator[Problem]:
    import ssl  # 15 ms, needed only for certificates

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = configuration.path_beside
    passwords = _passwords(path(files.passwords)) if files.passwords else [b""]
    for certificate, key, position in files.pairs:
        if certificate.startswith("data:") or key.startswith(("data:", "engine:", "store:")):
            continue  # no file
        yield from _pair_problem(context, path(certificate), path(key), passwords, position)
    for written, position in files.trusted:
        yield from _attempt(f'cannot load certificate "{path(written)}"', position, context.load_verify_locations, path(written))
    if files.ciphers is not None:
        ciphers, position = files.ciphers
        yield from _attempt(f'SSL_CTX_set_cipher_list("{ciphers}") failed', position, context.set_ciphers, ciphers)


def _pair_problem(
    context: ssl.SSLContext, certificate: str, key: str, passwords: list[bytes], position: Position
) -> Iterator[Problem]:
    """Find the problems of a certificate and its key: one of them cannot be read, or they do not match."""
    for what, file in (("certificate", certificate), ("certificate key", key)):
        if not os.access(file, os.R_OK):
            reason = "Permission denied" if os.path.exists(file) else "No such file or directory"
            yield Problem(f'cannot load {what} "{file}": {reason}', position)
            return
    problems: list[Problem] = []
    for password in passwords:
        problems = list(_attempt(f'cannot load certificate "{certificate}" with the key "{key}"', position,
                                 context.load_cert_chain, certificate, key, lambda password=password: password))  # fmt: skip
        if not problems:
            return
    yield from problems[:1]


def _passwords(path: str) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            return file.read().splitlines() or [b""]
    except OSError:
        return [b""]  # reported already


def _attempt(what: str, position: Position, load: Callable[..., object], *arguments: object) -> Iterator[Problem]:
    from wproxy.tls.contexts import reason_of

    try:
        load(*arguments)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        yield Problem(f"{what}: {reason_of(error)}", position)
