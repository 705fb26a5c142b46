"""Calls of OpenSSL that Python's ssl does not offer, made through ctypes on the library that it has loaded.

A context of Python's is an object with a pointer to OpenSSL's own right after its head, and a connection has one after a further
pointer. That is no promise of anybody's, so it is checked once: options that are read through the pointers must be those that
Python reads. Where they are not there is no `OpenSSL`, and what needs it says so.
"""

from __future__ import annotations

import _ssl
import ctypes
import functools
import ssl
from collections.abc import Callable
from typing import Any, Literal, Protocol

# Commands of SSL_CTX_ctrl and SSL_ctrl, SSL_CTX_callback_ctrl.
_SET_MODE = 33
_SET_CACHE_SIZE, _SET_CACHE_MODE = 42, 44
_GET_TICKET_KEYS, _SET_TICKET_KEYS = 58, 59
_SET_STATUS_CALLBACK, _SET_STATUS_ARGUMENT, _SET_STATUS_RESPONSE = 63, 64, 71
_SET_TICKET_CALLBACK = 72
_SET_RECORD_SIZE = 52
_SET_GROUPS = 92
_GET_GROUP = 134
_GET_SIGNATURE, _GET_PEER_SIGNATURE = 140, 141
_VERIFY_PEER = 1
_NO_AUTO_CHAIN = 8
# Of SSL_CONF_CTX: as in a file, for a server or a client, with certificates.
_AS_FILE, _AS_CLIENT, _AS_SERVER, _WITH_CERTIFICATES = 0x2, 0x4, 0x8, 0x20

_MOST_REASONS = 1200  # those of alerts come last, from 1000 on

CACHE_OFF, CACHE_SERVER, NO_LOOKUP, NO_STORE = 0, 0x2, 0x100, 0x200
TICKET_KEY = 80

_VERIFY_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
_STATUS_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_TICKET_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int
)

_NEW_SESSION_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_FIND_SESSION_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_LOST_SESSION_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)

_LONG, _INT, _POINTER, _TEXT = ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "SSL_CTX_get_options": (ctypes.c_uint64, (_POINTER,)),
    "SSL_get_options": (ctypes.c_uint64, (_POINTER,)),
    "SSL_CTX_ctrl": (_LONG, (_POINTER, _INT, _LONG, _POINTER)),
    "SSL_CTX_callback_ctrl": (_LONG, (_POINTER, _INT, _POINTER)),
    "SSL_ctrl": (_LONG, (_POINTER, _INT, _LONG, _POINTER)),
    "SSL_CTX_set_verify": (None, (_POINTER, _INT, _POINTER)),
    "SSL_CTX_set_verify_depth": (None, (_POINTER, _INT)),
    "SSL_CTX_set_timeout": (_LONG, (_POINTER, _LONG)),
    "SSL_CTX_set_session_id_context": (_INT, (_POINTER, _TEXT, ctypes.c_uint)),
    "SSL_set_session_id_context": (_INT, (_POINTER, _TEXT, ctypes.c_uint)),
    "SSL_load_client_CA_file": (_POINTER, (_TEXT,)),
    "SSL_CTX_set_client_CA_list": (None, (_POINTER, _POINTER)),
    "SSL_get_certificate": (_POINTER, (_POINTER,)),
    "SSL_get_verify_result": (_LONG, (_POINTER,)),
    "X509_verify_cert_error_string": (_TEXT, (_LONG,)),
    "SSL_CONF_CTX_new": (_POINTER, ()),
    "SSL_CONF_CTX_free": (None, (_POINTER,)),
    "SSL_CONF_CTX_set_flags": (ctypes.c_uint, (_POINTER, ctypes.c_uint)),
    "SSL_CONF_CTX_set_ssl_ctx": (None, (_POINTER, _POINTER)),
    "SSL_CONF_CTX_finish": (_INT, (_POINTER,)),
    "SSL_CONF_cmd": (_INT, (_POINTER, _TEXT, _TEXT)),
    "SSL_get_session": (_POINTER, (_POINTER,)),
    "SSL_get1_session": (_POINTER, (_POINTER,)),
    "SSL_set_session": (_INT, (_POINTER, _POINTER)),
    "SSL_SESSION_free": (None, (_POINTER,)),
    "SSL_SESSION_get_id": (_POINTER, (_POINTER, ctypes.POINTER(ctypes.c_uint))),
    "SSL_CTX_sess_set_new_cb": (None, (_POINTER, _POINTER)),
    "SSL_CTX_sess_set_get_cb": (None, (_POINTER, _POINTER)),
    "SSL_CTX_sess_set_remove_cb": (None, (_POINTER, _POINTER)),
    "i2d_SSL_SESSION": (_INT, (_POINTER, _POINTER)),
    "d2i_SSL_SESSION": (_POINTER, (_POINTER, _POINTER, _LONG)),
    "OBJ_nid2sn": (_TEXT, (_INT,)),
    "CRYPTO_malloc": (_POINTER, (ctypes.c_size_t, _TEXT, _INT)),
    "ERR_clear_error": (None, ()),
    "ERR_get_error": (ctypes.c_ulong, ()),
    "ERR_reason_error_string": (_TEXT, (ctypes.c_ulong,)),
    "ERR_error_string_n": (None, (ctypes.c_ulong, _TEXT, ctypes.c_size_t)),
    "RAND_bytes": (_INT, (_POINTER, _INT)),
    "EVP_aes_128_cbc": (_POINTER, ()),
    "EVP_aes_256_cbc": (_POINTER, ()),
    "EVP_sha256": (_POINTER, ()),
    "EVP_EncryptInit_ex": (_INT, (_POINTER, _POINTER, _POINTER, _TEXT, _POINTER)),
    "EVP_DecryptInit_ex": (_INT, (_POINTER, _POINTER, _POINTER, _TEXT, _POINTER)),
    "HMAC_Init_ex": (_INT, (_POINTER, _TEXT, _INT, _POINTER, _POINTER)),
}


class Connection(Protocol):
    """A connection of OpenSSL's as Python's ssl has it: an SSLObject, or the object inside of one, which takes 250 bytes less."""

    @property
    def context(self) -> ssl.SSLContext: ...
    @property
    def server_side(self) -> bool: ...
    @property
    def session(self) -> ssl.SSLSession | None: ...
    @property
    def session_reused(self) -> bool | None: ...
    def version(self) -> str | None: ...
    def cipher(self) -> tuple[str, str, int] | None: ...
    def selected_alpn_protocol(self) -> str | None: ...
    def getpeercert(self, binary_form: Literal[True], /) -> bytes | None: ...


class Refused(ValueError):
    """OpenSSL has refused something; the message is its own."""


class Session:
    """A session that is given back to OpenSSL when nobody has it any more. at: its address."""

    __slots__ = ("_free", "at")

    def __init__(self, at: int, free: Callable[[int], None]) -> None:
        """free: gives up the reference that we hold."""
        self.at = at
        self._free = free

    def __del__(self) -> None:
        """Give it back."""
        self._free(self.at)


class OpenSSL:
    """The library. Contexts and connections are those of Python's ssl."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Raises AttributeError where the library lacks one of the functions."""
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._library: Any = library
        self._reasons: dict[int, dict[str, int]] = {}
        self._always = _VERIFY_CALLBACK(lambda is_fine, store: 1)

    def is_sane(self) -> bool:
        """Whether the pointers in Python's objects are where we look for them."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        library = self._library
        for options in (context.options, context.options | ssl.OP_NO_TICKET, context.options & ~ssl.OP_NO_COMPRESSION):
            context.options = options
            if library.SSL_CTX_get_options(context_address(context)) != context.options:
                return False
        connection = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
        return bool(library.SSL_get_options(connection_address(connection)) == context.options)

    # Contexts.

    def verify_without_failing(self, context: ssl.SSLContext, depth: int) -> None:
        """Ask clients for a certificate, and let the handshake succeed whatever they send; `verify_result` has the verdict."""
        self._library.SSL_CTX_set_verify(context_address(context), _VERIFY_PEER, ctypes.cast(self._always, ctypes.c_void_p))
        self._library.SSL_CTX_set_verify_depth(context_address(context), depth)

    def show_own_chain(self, context: ssl.SSLContext) -> None:
        """Show the other side the certificates that were loaded with ours, and none that OpenSSL finds among those it trusts.

        Otherwise it looks for them at each handshake, and where clients are verified it shows the authority for clients.
        """
        self._library.SSL_CTX_ctrl(context_address(context), _SET_MODE, _NO_AUTO_CHAIN, None)

    def set_verify_depth(self, context: ssl.SSLContext, depth: int) -> None:
        """Limit the length of the other side's chain."""
        self._library.SSL_CTX_set_verify_depth(context_address(context), depth)

    def announce_authorities(self, context: ssl.SSLContext, path: str) -> None:
        """Tell clients the names of the authorities in a file. Raises Refused."""
        names = self._library.SSL_load_client_CA_file(path.encode("utf-8", "surrogateescape"))
        if not names:
            raise Refused(self._error())
        self._library.SSL_CTX_set_client_CA_list(context_address(context), names)

    def set_session_timeout(self, context: ssl.SSLContext, seconds: int) -> None:
        """Limit the life of a session; Python's is 7200 seconds."""
        self._library.SSL_CTX_set_timeout(context_address(context), seconds)

    def set_session_cache(self, context: ssl.SSLContext, mode: int, size: int) -> None:
        """Set how sessions are kept in the process, and how many; 0: as many as OpenSSL keeps by itself."""
        self._library.SSL_CTX_ctrl(context_address(context), _SET_CACHE_MODE, mode, None)
        if size:
            self._library.SSL_CTX_ctrl(context_address(context), _SET_CACHE_SIZE, size, None)

    def share_sessions(
        self,
        context: ssl.SSLContext,
        find: Callable[[bytes], bytes],
        keep: Callable[[bytes, bytes], None],
        forget: Callable[[bytes], None],
    ) -> None:
        """Keep the sessions of a server elsewhere, and not in the process.

        find: returns the session with an id, in DER, b"" without; keep: gets an id and a session; forget: gets an id.
        """
        library = self._library

        def note_new(_: int, session: int) -> int:
            size = library.i2d_SSL_SESSION(session, None)
            if size > 0:
                buffer = ctypes.create_string_buffer(size)
                library.i2d_SSL_SESSION(session, ctypes.byref(ctypes.c_void_p(ctypes.addressof(buffer))))
                keep(self._id_of(session), buffer.raw)
            return 0  # no reference to it is kept

        def look_up(_: int, at: int, size: int, is_shared_at: int) -> int | None:
            ctypes.c_int.from_address(is_shared_at).value = 0
            session = find(ctypes.string_at(at, size))
            if not session:
                return None
            buffer = ctypes.create_string_buffer(session, len(session))
            place = ctypes.c_void_p(ctypes.addressof(buffer))
            found: int | None = library.d2i_SSL_SESSION(None, ctypes.byref(place), len(session))
            return found

        def note_lost(_: int, session: int) -> None:
            forget(self._id_of(session))

        self.set_session_cache(context, CACHE_SERVER | NO_LOOKUP | NO_STORE, 0)
        for name, callback in (
            ("new", _NEW_SESSION_CALLBACK(note_new)),
            ("get", _FIND_SESSION_CALLBACK(look_up)),
            ("remove", _LOST_SESSION_CALLBACK(note_lost)),
        ):
            _keep(context, callback)
            set_callback = getattr(library, f"SSL_CTX_sess_set_{name}_cb")
            set_callback(context_address(context), ctypes.cast(callback, ctypes.c_void_p))

    def set_session_context(self, context: ssl.SSLContext, digest: bytes) -> None:
        """Let sessions be resumed only under contexts of the same digest, at most 32 bytes."""
        self._library.SSL_CTX_set_session_id_context(context_address(context), digest, len(digest))
        vars(context)["session_context"] = digest

    def keep_session_context(self, connection: Connection, context: ssl.SSLContext) -> None:
        """Have a server's connection, before its handshake, resume only sessions of its context's digest.

        Newer versions of Python give all connections one of Python's, so that a session would be resumed after a reload with
        another certificate, or by a server that asks for other certificates of clients.
        """
        digest: bytes | None = vars(context).get("session_context")
        if digest is not None:
            self._library.SSL_set_session_id_context(connection_address(connection), digest, len(digest))

    def set_groups(self, context: ssl.SSLContext, groups: str) -> None:
        """Set the groups of a key exchange, separated by colons, the best first. Raises Refused."""
        if self._library.SSL_CTX_ctrl(context_address(context), _SET_GROUPS, 0, groups.encode()) != 1:
            raise Refused(self._error() or "no groups that it has")  # since 3.5 it gives no reason

    def set_record_size(self, context: ssl.SSLContext, size: int) -> None:
        """Limit the plain text in one record that is sent, from 512 to 16384 bytes."""
        self._library.SSL_CTX_ctrl(context_address(context), _SET_RECORD_SIZE, min(max(size, 512), 16384), None)

    def ticket_key(self, context: ssl.SSLContext) -> bytes:
        """Return the key of a context's tickets: name 16, HMAC 32, AES 32."""
        key = ctypes.create_string_buffer(TICKET_KEY)
        self._library.SSL_CTX_ctrl(context_address(context), _GET_TICKET_KEYS, TICKET_KEY, key)
        return key.raw

    def set_ticket_key(self, context: ssl.SSLContext, key: bytes) -> None:
        """Set that key."""
        self._library.SSL_CTX_ctrl(context_address(context), _SET_TICKET_KEYS, TICKET_KEY, key)

    def set_ticket_keys(self, context: ssl.SSLContext, keys: Callable[[], tuple[bytes, ...]]) -> None:
        """Encrypt tickets with the first of some keys, and decrypt them with all; each has 48 or 80 bytes.

        keys: returns those of now, the same object as long as they are the same. 48: name 16, AES 16, HMAC 16. 80: name 16, HMAC
        32, AES 32.
        """
        library = self._library
        last: tuple[bytes, ...] = ()
        prepared: list[tuple[bytes, bytes, bytes, int]] = []

        def prepare() -> None:
            """Take the keys apart if they are not those of the last time."""
            nonlocal last
            now = keys()
            if now is last:
                return
            last = now
            prepared.clear()
            for each in now:
                name, rest = each[:16], each[16:]
                if len(each) == TICKET_KEY:
                    prepared.append((name, rest[32:], rest[:32], library.EVP_aes_256_cbc()))
                else:
                    prepared.append((name, rest[:16], rest[16:], library.EVP_aes_128_cbc()))

        digest = library.EVP_sha256()

        def use(_: int, name_at: int, vector: int, cipher: int, authenticator: int, encrypts: int) -> int:
            """Set up the cipher and the authenticator of a ticket; 0: no such key, 2: renew the ticket (SSL_CTX_..._key_cb)."""
            prepare()
            if encrypts:
                own_name, secret, signing, kind = prepared[0]
                if library.RAND_bytes(vector, 16) != 1:
                    return -1
                ctypes.memmove(name_at, own_name, 16)
                begin, which = library.EVP_EncryptInit_ex, 0
            else:
                asked = ctypes.string_at(name_at, 16)
                which = next((index for index, one in enumerate(prepared) if one[0] == asked), -1)
                if which < 0:
                    return 0
                own_name, secret, signing, kind = prepared[which]
                begin = library.EVP_DecryptInit_ex
            if library.HMAC_Init_ex(authenticator, signing, len(signing), digest, None) != 1:
                return -1
            if begin(cipher, kind, None, secret, vector) != 1:
                return -1
            return 2 if which else 1

        callback = _TICKET_CALLBACK(use)
        _keep(context, callback)
        library.SSL_CTX_callback_ctrl(context_address(context), _SET_TICKET_CALLBACK, ctypes.cast(callback, ctypes.c_void_p))

    def staple(self, context: ssl.SSLContext, find: Callable[[int], bytes]) -> None:
        """Send OCSP responses to clients that ask for one.

        find: returns the response, in DER, for the certificate at this address; b"" for none.
        """
        library = self._library

        def answer(connection: int, _: int) -> int:
            response = find(library.SSL_get_certificate(connection) or 0)
            copy = library.CRYPTO_malloc(len(response), b"", 0) if response else None  # OpenSSL frees it
            if not copy:
                return 3  # no response
            ctypes.memmove(copy, response, len(response))
            library.SSL_ctrl(connection, _SET_STATUS_RESPONSE, len(response), copy)
            return 0

        callback = _STATUS_CALLBACK(answer)
        _keep(context, callback)
        library.SSL_CTX_callback_ctrl(context_address(context), _SET_STATUS_CALLBACK, ctypes.cast(callback, ctypes.c_void_p))

    def command(self, context: ssl.SSLContext, name: str, value: str, is_server: bool) -> None:
        """Carry out a command of OpenSSL's configuration files (SSL_CONF_cmd). Raises Refused."""
        library = self._library
        library.ERR_clear_error()
        commands = library.SSL_CONF_CTX_new()
        try:
            side = _AS_SERVER if is_server else _AS_CLIENT
            library.SSL_CONF_CTX_set_flags(commands, _AS_FILE | _WITH_CERTIFICATES | side)
            library.SSL_CONF_CTX_set_ssl_ctx(commands, context_address(context))
            done = library.SSL_CONF_cmd(commands, name.encode(), value.encode())
            if done == -2:
                raise Refused("unknown command")
            if done <= 0 or library.SSL_CONF_CTX_finish(commands) != 1:
                raise Refused(self._error() or "no value that it takes")
        finally:
            library.SSL_CONF_CTX_free(commands)

    # Connections.

    def verify_result(self, connection: Connection) -> int:
        """Return the verdict about the other side's certificate; 0 when there is nothing wrong with it, or none was sent."""
        return int(self._library.SSL_get_verify_result(connection_address(connection)))

    def verify_message(self, code: int) -> str:
        """Describe a verdict."""
        return bytes(self._library.X509_verify_cert_error_string(code)).decode("ascii", "replace")

    def session(self, connection: Connection) -> Session | None:
        """Return a connection's session as it is; Python's own copies it by way of DER, which costs as much as a handshake."""
        at = self._library.SSL_get1_session(connection_address(connection))
        return Session(at, self._library.SSL_SESSION_free) if at else None

    def resume(self, connection: Connection, session: Session) -> None:
        """Have a client's connection, before its handshake, resume a session of the same context."""
        self._library.SSL_set_session(connection_address(connection), session.at)

    def session_id(self, connection: Connection) -> bytes:
        """Return the id of a connection's session; b"" without."""
        session = self._library.SSL_get_session(connection_address(connection))
        return self._id_of(session) if session else b""

    def _id_of(self, session: int) -> bytes:
        size = ctypes.c_uint()
        at = self._library.SSL_SESSION_get_id(session, ctypes.byref(size))
        return ctypes.string_at(at, size.value) if at else b""

    def group(self, connection: Connection) -> str:
        """Return the name of the group of a connection's key exchange; "" without."""
        number = int(self._library.SSL_ctrl(connection_address(connection), _GET_GROUP, 0, None))
        if number & 0x1000000:  # TLSEXT_nid_unknown: the number in the protocol
            return f"0x{number & 0xFFFF:04x}"
        return bytes(self._library.OBJ_nid2sn(number)).decode("ascii") if number else ""

    def signature_algorithm(self, connection: Connection, of_peer: bool) -> str:
        """Return the name of the algorithm by which we, or the other side, signed the handshake; "" for none, or unknown."""
        name = _TEXT()
        question = _GET_PEER_SIGNATURE if of_peer else _GET_SIGNATURE  # before OpenSSL 3.5 there is no answer
        at = ctypes.cast(ctypes.pointer(name), ctypes.c_void_p)
        found = self._library.SSL_ctrl(connection_address(connection), question, 0, at) == 1
        return (name.value or b"").decode("ascii") if found else ""

    def reasons(self, library: int) -> dict[str, int]:
        """Return the numbers of the errors of one of its libraries, by their words."""
        if library not in self._reasons:
            found = (
                (number, self._library.ERR_reason_error_string(library << 23 | number)) for number in range(1, _MOST_REASONS)
            )
            self._reasons[library] = {words.decode("ascii", "replace"): number for number, words in found if words}
        return self._reasons[library]

    def words_of(self, library: int, reason: int) -> str:
        """Return its words for a reason of one of its libraries; "" if it has none."""
        words = self._library.ERR_reason_error_string(library << 23 | reason)
        return words.decode("ascii", "replace") if words else ""

    def _error(self) -> str:
        """Return the first of OpenSSL's errors, and forget them all."""
        number = self._library.ERR_get_error()
        self._library.ERR_clear_error()
        if not number:
            return ""
        text = ctypes.create_string_buffer(256)
        self._library.ERR_error_string_n(number, text, 256)
        return text.value.decode("utf-8", "replace")


def _keep(context: ssl.SSLContext, callback: object) -> None:
    """Keep a C function as long as its context may call it."""
    vars(context).setdefault("callbacks", []).append(callback)


def context_address(context: ssl.SSLContext) -> int:
    """Return the address of OpenSSL's SSL_CTX."""
    return ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value or 0


def connection_address(connection: Connection) -> int:
    """Return the address of OpenSSL's SSL; an SSLObject has the object with it inside."""
    inner = getattr(connection, "_sslobj", connection)
    return ctypes.c_void_p.from_address(id(inner) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)).value or 0


@functools.cache
def find_openssl() -> OpenSSL | None:
    """Return the library; None where its calls cannot be made."""
    try:
        # Where Python has the module built in, the library is part of the program.
        found = OpenSSL(ctypes.CDLL(getattr(_ssl, "__file__", None)))
        return found if found.is_sane() else None
    except (AttributeError, OSError, TypeError, ValueError):
        return None
