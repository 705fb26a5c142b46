"""The contexts of the servers: everything that TLS needs to know about a server, made once, before the workers exist.

The master makes them as root, because keys are readable to nobody else, and before it forks, so that all workers have the same
keys for tickets and resume one another's sessions. Servers whose settings are the same share one.

The key of a server's tickets is derived from a secret that outlives reloads and upgrades (`wproxy.lasting`) and from a digest of
what the server trusts and shows: a session is resumed under the same settings only, and under those for a day at least.

Certificates with variables in their names are loaded at the handshake, by the same code (`ServerContext.with_certificates`).
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
import ssl
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from wproxy.certificate import read_certificates
from wproxy.config.model import Configuration, Server
from wproxy.config.registry import SERVER, find_directive
from wproxy.config.tree import Node, Position, Problem
from wproxy.lasting import LASTING
from wproxy.template import Template
from wproxy.tls.openssl import CACHE_OFF, CACHE_SERVER, NO_LOOKUP, NO_STORE, TICKET_KEY, OpenSSL, Refused, find_openssl

if TYPE_CHECKING:
    from wproxy.tls.ocsp import Inquiry, Responder
    from wproxy.tls.session_memory import SessionMemory
    from wproxy.zone_memory import ZoneMemory

HTTP1_PROTOCOLS = ("http/1.1", "http/1.0", "http/0.9")
VERSIONS = {
    "tlsv1": ssl.TLSVersion.TLSv1,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
}
_NOT_SPOKEN = {
    "tlsv1": ssl.OP_NO_TLSv1,
    "tlsv1.1": ssl.OP_NO_TLSv1_1,
    "tlsv1.2": ssl.OP_NO_TLSv1_2,
    "tlsv1.3": ssl.OP_NO_TLSv1_3,
}
TICKET_SIZES = (48, TICKET_KEY)
_SESSION_SIZE = 256  # about 4000 sessions in a megabyte, as nginx's manual has it
_MOST_SESSIONS = 20480  # as many as OpenSSL keeps by itself

# The directives that make a context what it is.
SETTINGS = (
    "ssl_certificate", "ssl_certificate_key", "ssl_password_file", "ssl_protocols", "ssl_ciphers", "ssl_prefer_server_ciphers",
    "ssl_ecdh_curve", "ssl_dhparam", "ssl_session_cache", "ssl_session_timeout", "ssl_session_tickets", "ssl_session_ticket_key",
    "ssl_verify_client", "ssl_verify_depth", "ssl_client_certificate", "ssl_trusted_certificate", "ssl_crl", "ssl_stapling",
    "ssl_stapling_file", "ssl_stapling_responder", "ssl_stapling_verify", "ssl_ocsp", "ssl_ocsp_responder", "ssl_ocsp_cache",
    "ssl_conf_command", "ssl_reject_handshake", "ssl_buffer_size", "ssl_certificate_cache",
)  # fmt: skip


class NotLoaded(ValueError):
    """A file or a value cannot be used; the message says which and why."""


class CertificateFiles(NamedTuple):
    """A certificate and its key, as paths or after `data:`."""

    certificate: str
    key: str


@dataclass(slots=True, eq=False)
class ServerContext:
    """One server's context.

    context: with the certificates whose names are known; None when the server has none. templates: certificates and keys whose
    names have variables. rejects: whether every handshake for this server is refused. protocols: those of ALPN, in the server's
    order. contents: of the server's other files, by name, for a process that may not read them. read_clock: returns unix seconds.
    inquiries: about its certificates, for the worker that staples the answers. responder: the one that is asked about clients,
    None for those that their certificates name. statuses: the memory of what it has answered. sessions: those that all workers
    know; None for those of each process.
    """

    server: Server
    protocols: tuple[str, ...]
    context: ssl.SSLContext | None = None
    templates: tuple[tuple[Template, Template], ...] = ()
    rejects: bool = False
    path: Callable[[str], str] = field(default=str)
    contents: dict[str, bytes] = field(default_factory=dict)
    read_clock: Callable[[], float] = field(default=float)
    inquiries: tuple[Inquiry, ...] = ()
    responder: Responder | None = None
    statuses: ZoneMemory | None = None
    sessions: SessionMemory | None = None

    @property
    def asks_about_clients(self) -> bool:
        """Whether a responder is asked about the certificates of clients."""
        return asks_about_clients(self.server)

    def with_certificates(self, files: tuple[CertificateFiles, ...]) -> ssl.SSLContext:
        """Return a context like this server's with other certificates. Raises NotLoaded."""
        return make_context(_Attempt(self.server, self.path, self.contents, self.read_clock), self.protocols, files)


class TlsContexts:
    """The contexts of all servers that have certificates.

    of: by server, and whether its clients are offered HTTP/2. warnings: settings that cannot be carried out on this system.
    """

    def __init__(self) -> None:
        self.of: dict[tuple[Server, bool], ServerContext] = {}
        self.warnings: list[Problem] = []

    def find(self, server: Server, has_http2: bool) -> ServerContext | None:
        """Return the context of a server; None when it has no certificate and rejects nobody."""
        return self.of.get((server, has_http2))

    def __repr__(self) -> str:
        return f"<contexts of {len(self.of)} servers>"


def asks_about_clients(server: Server) -> bool:
    """Whether a responder is asked about the certificates of a server's clients."""
    return bool(server.ssl_ocsp != "off" and server.ssl_verify_client != "off")


def offers_http2(server: Server, has_http2: bool) -> bool:
    """Whether clients of a server are offered HTTP/2. has_http2: whether `listen` says so for all servers of the address."""
    row = find_directive("http2", SERVER)
    return row is not None and row.effective and (has_http2 or bool(getattr(server, "http2", False)))


def make_contexts(configuration: Configuration, read_clock: Callable[[], float] = float) -> tuple[TlsContexts, list[Problem]]:
    """Make the contexts of a configuration; problems are in the order in which they were found.

    read_clock: returns unix seconds, for keys that change with time; by default none pass.
    """
    contexts = TlsContexts()
    problems: list[Problem] = []
    made: dict[Any, ServerContext] = {}
    for server, has_http2 in _servers(configuration):
        if not server.ssl_certificate and not server.ssl_reject_handshake:
            continue
        protocols = ("h2", *HTTP1_PROTOCOLS) if offers_http2(server, has_http2) else HTTP1_PROTOCOLS
        key = (protocols, *(_comparable(getattr(server, name)) for name in SETTINGS))
        if key not in made:
            made[key] = one = ServerContext(server, protocols, path=configuration.path_beside, read_clock=read_clock)
            try:
                _fill(one)
            except _Blamed as blamed:
                problems.append(Problem(str(blamed), blamed.position))
            else:
                contexts.warnings += _inquire(one)
                problems += _prepare_to_ask(one)
                _prepare_to_share(one)
        contexts.of[server, has_http2] = made[key]
    if find_openssl() is None:
        lacking, refusals = _without_openssl(server for server, _ in contexts.of)
        contexts.warnings += lacking
        problems += refusals
    contexts.warnings = list(dict.fromkeys(contexts.warnings))
    return contexts, problems


# What needs OpenSSL's own calls, and what it is like without them. Without a command of ssl_conf_command a server might be less
# safe than it should be.
_LACKING = {
    "ssl_verify_client": "a certificate that is not trusted ends the handshake",
    "ssl_verify_depth": "the depth is OpenSSL's",
    "ssl_ecdh_curve": "only the first group is offered",
    "ssl_session_timeout": "sessions last two hours",
    "ssl_session_cache": "OpenSSL keeps as many sessions as it likes",
    "ssl_session_ticket_key": "other machines do not resume sessions",
    "ssl_buffer_size": "records have 16 KB",
    "ssl_stapling_file": "no response is stapled",
    "ssl_conf_command": "",
    "ssl_ocsp": "",
}


def _without_openssl(servers: Iterable[Server]) -> tuple[list[Problem], list[Problem]]:
    """Return warnings about settings that cannot be carried out, and problems where that would be unsafe."""
    warnings: list[Problem] = []
    refusals: list[Problem] = []
    for server in servers:
        for name, otherwise in _LACKING.items():
            for node in server.written.get(name, ()):
                text = f'"{name}" cannot be carried out with this Python, which does not let us call its OpenSSL'
                if otherwise:
                    warnings.append(Problem(f"{text}: {otherwise}", node.position))
                else:
                    refusals.append(Problem(text, node.position))
    return list(dict.fromkeys(warnings)), list(dict.fromkeys(refusals))


def _servers(configuration: Configuration) -> Iterator[tuple[Server, bool]]:
    """Return each server, with and without the HTTP/2 of its addresses."""
    seen = set()
    for listener in configuration.listeners:
        has_http2 = "http2" in listener.protocols
        for server in listener.servers.targets:
            if (server, has_http2) not in seen:
                seen.add((server, has_http2))
                yield server, has_http2
    for server in configuration.servers:
        if (server, False) not in seen:
            yield server, False


def _comparable(value: Any) -> Any:
    """Return a value that is equal for equal settings."""
    if isinstance(value, Template):
        return value.text
    return tuple(map(_comparable, value)) if isinstance(value, tuple) and not hasattr(value, "_fields") else value


class _Blamed(NotLoaded):
    """A setting cannot be used. position: where it is."""

    def __init__(self, text: str, position: Position | None) -> None:
        super().__init__(text)
        self.position = position


def _fill(one: ServerContext) -> None:
    """Make the context of a server, with the certificates whose names have no variables. Raises _Blamed."""
    server = one.server
    files = []
    templates = []
    for certificate, key in zip(server.ssl_certificate, server.ssl_certificate_key):
        if certificate.constant is not None and key.constant is not None:
            files.append(CertificateFiles(certificate.text, key.text))
        else:
            templates.append((certificate, key))
    one.rejects = bool(server.ssl_reject_handshake)
    one.templates = tuple(templates)
    if files or templates:
        attempt = _Attempt(server, one.path, {}, one.read_clock)
        one.context = make_context(attempt, one.protocols, tuple(files))
        if templates:
            one.contents = attempt.contents


def _inquire(one: ServerContext) -> list[Problem]:
    """Note what is to be asked about the certificates of a server; return warnings about those of which nobody can be asked."""
    server = one.server
    if not server.ssl_stapling or server.ssl_stapling_file or not (one.context or one.templates):
        return []
    from wproxy.tls.ocsp import NoResponder, find_ocsp

    position = server.written["ssl_stapling"][-1].position
    ocsp = find_ocsp() if find_openssl() is not None else None
    if ocsp is None:
        return [Problem('"ssl_stapling" ignored, this Python does not let us call its OpenSSL', position)]
    warnings = []
    found: list[Inquiry] = []
    if one.context is not None and not one.templates:
        paths = {der: path for certificate in server.ssl_certificate for path, der in _leaf(one, certificate.text)}
        for certificate in ocsp.certificates(one.context):
            name = paths.get(ocsp.der(certificate), "")
            try:
                found.append(ocsp.inquire(one.context, certificate, name, server.ssl_stapling_responder or ""))
            except NoResponder as error:
                warnings.append(Problem(f'"ssl_stapling" ignored, {error}', position))
    else:
        warnings.append(Problem('"ssl_stapling" ignored, the name of a certificate has variables', position))
    one.inquiries = tuple(found)
    return warnings


def _prepare_to_ask(one: ServerContext) -> list[Problem]:
    """Note who is asked about the certificates of clients, and where the answers are kept; return what stands in the way."""
    server = one.server
    if not asks_about_clients(server) or find_openssl() is None:  # the latter is refused
        return []
    from wproxy.tls.ocsp import NoResponder, find_ocsp, read_responder
    from wproxy.zone_memory import status_memory

    if find_ocsp() is None:
        text = '"ssl_ocsp" cannot be carried out with this Python, whose OpenSSL lacks the calls for it'
        return [Problem(text, server.written["ssl_ocsp"][-1].position)]
    try:
        one.responder = read_responder(server.ssl_ocsp_responder, '"ssl_ocsp_responder"') if server.ssl_ocsp_responder else None
    except NoResponder as error:
        return [Problem(str(error), server.written["ssl_ocsp_responder"][-1].position)]
    zone = server.ssl_ocsp_cache
    if zone is not None:
        one.statuses = status_memory(zone.name, zone.size or 0)
    return []


def _prepare_to_share(one: ServerContext) -> None:
    """Note where the sessions of clients are kept that have no tickets. (With tickets there are hardly any others.)"""
    server = one.server
    zone = server.ssl_session_cache.zone
    if zone is None or server.ssl_session_tickets or one.context is None or asks_about_clients(server) or find_openssl() is None:
        return
    from wproxy.tls.session_memory import session_memory

    one.sessions = session_memory(zone.name, zone.size or 0)


def _leaf(one: ServerContext, written: str) -> list[tuple[str, bytes]]:
    """Return the name of a certificate's file and the certificate in DER; nothing if that cannot be read."""
    with on_disk(written, one.path) as path, open(path, "rb") as file:
        try:
            return [(written if written.startswith("data:") else path, read_certificates(file.read())[0].der)]
        except (ValueError, IndexError):
            return []


def make_context(attempt: _Attempt, protocols: tuple[str, ...], files: tuple[CertificateFiles, ...]) -> ssl.SSLContext:
    """Make a context for a server's settings, with these certificates. Raises NotLoaded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = attempt.server
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_IGNORE_UNEXPECTED_EOF
    if not server.ssl_prefer_server_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    set_versions(context, server.ssl_protocols)
    # A ticket costs 70 us, and a client of today asks for no second one.
    context.num_tickets = 1
    context.set_alpn_protocols(list(protocols))
    openssl = find_openssl()
    _load_certificates(context, attempt, files)
    _set_algorithms(context, attempt, openssl)
    _trust(context, attempt, openssl)
    _keep_sessions(context, attempt, openssl, files)
    if openssl is not None:
        openssl.show_own_chain(context)
        openssl.set_record_size(context, server.ssl_buffer_size)
        if server.ssl_stapling and server.ssl_stapling_file:
            response = attempt.read("ssl_stapling_file", server.ssl_stapling_file)
            openssl.staple(context, lambda certificate: response)
        for node, (name, value) in zip(server.written.get("ssl_conf_command", ()), server.ssl_conf_command):
            try:
                openssl.command(context, name, value, is_server=True)
            except Refused as error:
                raise _Blamed(f'SSL_CONF_cmd("{name}", "{value}") failed: {error}', node.position) from None
    return context


class _Attempt:
    """The loading of one server's settings: failures are told with the place of the directive.

    contents: of files that have been read already, by name; those that are read now are added. read_clock: returns unix seconds.
    """

    def __init__(
        self, server: Server, path: Callable[[str], str], contents: dict[str, bytes], read_clock: Callable[[], float]
    ) -> None:
        self.server = server
        self.path = path
        self.contents = contents
        self.read_clock = read_clock

    def position(self, name: str, index: int = -1) -> Position | None:
        nodes: tuple[Node, ...] = self.server.written.get(name, ())
        return nodes[index].position if nodes else None

    def load(self, name: str, what: str, load: Callable[..., object], *arguments: object) -> None:
        """Call a function; raises _Blamed with the reason why it failed. what: what fails then."""
        try:
            load(*arguments)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise _Blamed(f"{what}: {reason_of(error)}", self.position(name)) from None

    def read(self, name: str, written: str, index: int = -1) -> bytes:
        """Return the contents of a file; raises _Blamed."""
        known = self.contents.get(written)
        if known is not None:
            return known
        path = self.path(written)
        try:
            with open(path, "rb") as file:
                self.contents[written] = content = file.read()
                return content
        except OSError as error:
            text = f'open() "{path}" failed ({error.errno}: {error.strerror})'
            raise _Blamed(text, self.position(name, index)) from None

    def load_file(self, name: str, what: str, load: Callable[[str], object]) -> None:
        """Call a function with the path of the file that a directive names; raises _Blamed.

        The file may be one in memory, with what was in it when it could be read.
        """
        written = getattr(self.server, name)
        path = self.path(written)
        try:
            content = self.read(name, written)
        except _Blamed as blamed:
            reason = str(blamed).rpartition(": ")[2].rstrip(")")
            raise _Blamed(f'{what} "{path}": {reason}', blamed.position) from None
        with InMemory(content) as in_memory:
            self.load(name, f'{what} "{path}"', load, in_memory)


def reason_of(error: OSError | ValueError) -> str:
    """Describe why something could not be loaded."""
    text = getattr(error, "reason", None) or getattr(error, "strerror", None) or " ".join(map(str, error.args))
    if "PEM" in text or text == "NO_CERTIFICATE_OR_CRL_FOUND":
        return "there is nothing of that kind in PEM form in it"
    return text.lower().replace("_", " ") if text.isupper() else text


def set_versions(context: ssl.SSLContext, words: frozenset[str]) -> None:
    """Let only these protocols be spoken; those before TLS 1 are in no library any more."""
    spoken = [version for word, version in VERSIONS.items() if word in words]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions, which the configuration asks for
        context.minimum_version = min(spoken, default=ssl.TLSVersion.TLSv1_3)
        context.maximum_version = max(spoken, default=ssl.TLSVersion.TLSv1_3)
        for word, option in _NOT_SPOKEN.items():
            if word not in words:
                context.options |= option


def _load_certificates(context: ssl.SSLContext, attempt: _Attempt, files: tuple[CertificateFiles, ...]) -> None:
    server = attempt.server
    passwords = [b""]
    if server.ssl_password_file:
        passwords = attempt.read("ssl_password_file", server.ssl_password_file).splitlines() or [b""]
    for index, (certificate, key) in enumerate(files):
        position = attempt.position("ssl_certificate", index)
        with on_disk(certificate, attempt.path) as certificate_path, on_disk(key, attempt.path) as key_path:
            for what, path in (("certificate", certificate_path), ("certificate key", key_path)):
                if path.startswith(("engine:", "store:")):
                    raise _Blamed(f'cannot load {what} "{path}": only files and "data:" can be loaded', position)
                if not os.access(path, os.R_OK):
                    why = "Permission denied" if os.path.exists(path) else "No such file or directory"
                    raise _Blamed(f'cannot load {what} "{path}": {why}', position)
            refusal: OSError | ValueError | None = None
            for password in passwords:
                try:
                    context.load_cert_chain(certificate_path, key_path, lambda password=password: password)
                    break
                except (OSError, ValueError) as error:
                    refusal = refusal or error
            else:
                assert refusal is not None
                text = f'cannot load certificate "{certificate_path}" with the key "{key_path}": {reason_of(refusal)}'
                raise _Blamed(text, position)


class InMemory:
    """A file in memory, for calls that want a path."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._fileno = -1

    def __enter__(self) -> str:
        self._fileno = os.memfd_create("certificate", os.MFD_CLOEXEC)
        with open(self._fileno, "wb", closefd=False) as file:
            file.write(self._content)
        return f"/proc/self/fd/{self._fileno}"

    def __exit__(self, *_: object) -> None:
        os.close(self._fileno)


def on_disk(written: str, path: Callable[[str], str]) -> AbstractContextManager[str]:
    """Return the path of a file, or of one in memory with the text after `data:`."""
    if written.startswith("data:"):
        return InMemory(written.removeprefix("data:").encode("utf-8", "surrogateescape"))
    return nullcontext(written if written.startswith(("engine:", "store:")) else path(written))


def _set_algorithms(context: ssl.SSLContext, attempt: _Attempt, openssl: OpenSSL | None) -> None:
    server = attempt.server
    ciphers = server.ssl_ciphers
    attempt.load("ssl_ciphers", f'SSL_CTX_set_cipher_list("{ciphers}") failed', context.set_ciphers, ciphers)
    if server.ssl_dhparam:
        attempt.load_file("ssl_dhparam", "cannot load DH parameters", context.load_dh_params)
    groups = server.ssl_ecdh_curve
    if groups != "auto":
        # Without OpenSSL's own call only one can be chosen.
        set_groups: Callable[..., object] = context.set_ecdh_curve
        arguments: tuple[object, ...] = (groups.split(":")[0],)
        if openssl is not None:
            set_groups, arguments = openssl.set_groups, (context, groups)
        attempt.load("ssl_ecdh_curve", f'SSL_CTX_set1_curves_list("{groups}") failed', set_groups, *arguments)


def _trust(context: ssl.SSLContext, attempt: _Attempt, openssl: OpenSSL | None) -> None:
    """Set who vouches for clients, and that they are asked for a certificate."""
    server = attempt.server
    for name in ("ssl_trusted_certificate", "ssl_client_certificate", "ssl_crl"):
        written = getattr(server, name)
        if not written or (name == "ssl_client_certificate" and server.ssl_verify_client == "off"):
            continue
        attempt.load_file(name, "cannot load certificate", context.load_verify_locations)
        if name == "ssl_client_certificate" and openssl is not None:
            attempt.load_file(name, "cannot load certificate", partial(openssl.announce_authorities, context))
        if name == "ssl_crl":
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_CRL_CHECK_CHAIN
    if server.ssl_verify_client != "off":
        context.verify_mode = ssl.CERT_OPTIONAL
        if openssl is not None:
            openssl.verify_without_failing(context, server.ssl_verify_depth)


def _keep_sessions(
    context: ssl.SSLContext, attempt: _Attempt, openssl: OpenSSL | None, files: tuple[CertificateFiles, ...]
) -> None:
    """Set how sessions are resumed."""
    server = attempt.server
    if asks_about_clients(server):
        # A session keeps the client's certificate, but not those that led from it to an authority: whoever resumes one could not
        # be asked about. (nginx closes the connection then.)
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        if openssl is not None:
            openssl.set_session_cache(context, CACHE_OFF, 0)
        return
    if not server.ssl_session_tickets:
        context.options |= ssl.OP_NO_TICKET
    keys = []
    for index, written in enumerate(server.ssl_session_ticket_key):
        key = attempt.read("ssl_session_ticket_key", written, index)
        if len(key) not in TICKET_SIZES:
            text = f'"{attempt.path(written)}" must be 48 or 80 bytes'
            raise _Blamed(text, attempt.position("ssl_session_ticket_key", index))
        keys.append(key)
    if openssl is None:
        return
    cache = server.ssl_session_cache
    if cache.mode == "off":
        openssl.set_session_cache(context, CACHE_OFF, 0)
    elif cache.mode == "none":
        openssl.set_session_cache(context, CACHE_SERVER | NO_LOOKUP | NO_STORE, 0)
    else:
        most = min((cache.zone.size or 0) // _SESSION_SIZE, _MOST_SESSIONS) if cache.zone else cache.builtin or 0
        openssl.set_session_cache(context, CACHE_SERVER, most)
    openssl.set_session_timeout(context, int(server.ssl_session_timeout))
    digest = _digest(attempt, files)
    openssl.set_session_context(context, digest)
    if len(keys) == 1 and len(keys[0]) == TICKET_KEY:
        openssl.set_ticket_key(context, keys[0])
    elif keys:
        read = tuple(keys)
        openssl.set_ticket_keys(context, lambda: read)
    elif cache.zone and server.ssl_session_tickets:
        openssl.set_ticket_keys(context, TurningKeys(digest, int(server.ssl_session_timeout), attempt.read_clock))
    else:
        openssl.set_ticket_key(context, ticket_key(digest))


def _digest(attempt: _Attempt, files: tuple[CertificateFiles, ...]) -> bytes:
    """Return 32 bytes that are the same for servers that show and trust the same, whose sessions may be exchanged."""
    server = attempt.server
    digest = hashlib.blake2b(digest_size=32)
    parts: list[bytes] = [repr((server.ssl_verify_client, server.ssl_verify_depth)).encode()]
    for certificate, _ in files:
        with on_disk(certificate, attempt.path) as path, open(path, "rb") as file:
            parts.append(file.read())
    if server.ssl_verify_client != "off":
        for name in ("ssl_client_certificate", "ssl_trusted_certificate", "ssl_crl"):
            written = getattr(server, name)
            parts.append(attempt.read(name, written) if written else b"")
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def ticket_key(digest: bytes) -> bytes:
    """Return the key for the tickets of servers with this digest: the same after a reload and an upgrade."""
    return derived_key(digest, _secret())


def derived_key(data: bytes, secret: bytes) -> bytes:
    """Return the key of tickets that belongs to this under a secret."""
    return b"".join(hashlib.blake2b(data, key=secret, digest_size=40, salt=salt).digest() for salt in (b"first", b"second"))


class TurningKeys:
    """Keys of tickets that change with each ssl_session_timeout, as nginx has them where there is a shared cache.

    A ticket is good for that turn and the next one. All workers come to the same keys by themselves.
    """

    def __init__(self, digest: bytes, seconds: int, read_clock: Callable[[], float]) -> None:
        """seconds: the length of a turn. read_clock: returns unix seconds."""
        self._read_clock = read_clock
        self._digest = digest
        self._secret = _secret()  # now: a worker may not be able to read it
        self._seconds = max(seconds, 1)
        self._turn = -1
        self._keys: tuple[bytes, ...] = ()

    def __call__(self) -> tuple[bytes, ...]:
        """Return the key of this turn, and that of the last one."""
        turn = int(self._read_clock() // self._seconds)
        if turn != self._turn:
            self._turn = turn
            self._keys = tuple(
                derived_key(self._digest + each.to_bytes(8, "big"), self._secret) for each in (turn, max(turn - 1, 0))
            )
        return self._keys

    def __repr__(self) -> str:
        return f"<keys of turn {self._turn}>"


_SECRET_SIZE = 64
_SECRET_LIFE = 86400  # seconds


def renew_secret(now: float) -> None:
    """Replace the secret of tickets by a new one, if it is older than a day. To be called at a load; now: unix seconds.

    Whoever learns it can read what was said under tickets since then. (nginx makes new keys at every load.)
    """
    memory = _memory()
    made = int.from_bytes(memory[_SECRET_SIZE : _SECRET_SIZE + 8], "big")
    if not made <= now < made + _SECRET_LIFE:
        memory[:_SECRET_SIZE] = secrets.token_bytes(_SECRET_SIZE)
        memory[_SECRET_SIZE : _SECRET_SIZE + 8] = int(now).to_bytes(8, "big")


def _secret() -> bytes:
    memory = _memory()
    if not any(memory[:_SECRET_SIZE]):
        memory[:_SECRET_SIZE] = secrets.token_bytes(_SECRET_SIZE)
    return bytes(memory[:_SECRET_SIZE])


def _memory() -> mmap.mmap:
    """Return the secret, and the time when it was made, in memory that outlives this master."""
    return LASTING.region("secret of TLS tickets", _SECRET_SIZE + 8)
