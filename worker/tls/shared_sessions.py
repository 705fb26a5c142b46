"""`ssl_session_cache shared:` with `ssl_session_tickets off`: all workers know a session (`wproxy.tls.session_memory`).

OpenSSL tells of each new session, and asks for one by its id; what it keeps by itself only one worker would know.

An entry is the length of the session, that of its id, its end in unix seconds, the id, and the session in DER. Where there is no
room the oldest ones go, as in nginx (ngx_ssl_expire_sessions). While a bucket is written it counts as empty, so that a worker
that is killed leaves no half of a session.
"""

from __future__ import annotations

from struct import Struct

from worker.locks import lock, try_lock, unlock
from wproxy.http import Clock
from wproxy.tls.contexts import TlsContexts
from wproxy.tls.openssl import find_openssl
from wproxy.tls.session_memory import BUCKET, SessionMemory

_USED = Struct("=I")
_HEAD = Struct("=HBI")
_ROOM = BUCKET - _USED.size


def share_sessions(contexts: TlsContexts, clock: Clock) -> None:
    """Have all contexts whose servers want it keep their sessions where all workers look for them."""
    openssl = find_openssl()
    assert openssl is not None, "without it there is no memory for them"
    for context in dict.fromkeys(contexts.of.values()):
        if context.sessions is not None and context.context is not None:
            kept = SharedSessions(context.sessions, clock, int(context.server.ssl_session_timeout))
            openssl.share_sessions(context.context, kept.find, kept.keep, kept.forget)


class SharedSessions:
    """The sessions of a zone, as a server uses it."""

    __slots__ = ("_clock", "_memory", "_timeout")

    def __init__(self, memory: SessionMemory, clock: Clock, timeout: int) -> None:
        """timeout: the seconds for which a session may be resumed."""
        self._memory = memory
        self._clock = clock
        self._timeout = timeout

    def find(self, session_id: bytes) -> bytes:
        """Return a session in DER; b"" without."""
        mutex, begin = self._memory.place(session_id)
        if (result := try_lock(mutex)) and not lock(mutex, result):
            return b""
        try:
            entries = self._read(begin)
        finally:
            unlock(mutex)
        if session_id not in entries:
            return b""
        for known, expires, at, end in _each(entries):
            if known == session_id:
                return entries[at:end] if expires > self._clock.wall else b""
        return b""

    def keep(self, session_id: bytes, session: bytes) -> None:
        """Keep a session, in DER."""
        now = int(self._clock.wall)
        entry = _HEAD.pack(len(session) & 0xFFFF, len(session_id), now + self._timeout) + session_id + session
        if len(entry) <= _ROOM:
            self._change(session_id, entry)

    def forget(self, session_id: bytes) -> None:
        """Forget a session."""
        self._change(session_id, b"")

    def _change(self, session_id: bytes, entry: bytes) -> None:
        """Replace a session by an entry, b"" for none."""
        mutex, begin = self._memory.place(session_id)
        if (result := try_lock(mutex)) and not lock(mutex, result):
            return
        try:
            entries = self._read(begin)
            now = self._clock.wall
            begins, kept = 0, []
            for known, expires, _, end in _each(entries):
                if expires > now and known != session_id:
                    kept.append(entries[begins:end])
                begins = end
            kept.append(entry)
            size = sum(map(len, kept))
            first = 0
            while size > _ROOM:
                size -= len(kept[first])
                first += 1
            memory = self._memory.memory
            memory[begin : begin + _USED.size] = _USED.pack(0)
            memory[begin + _USED.size : begin + _USED.size + size] = b"".join(kept[first:])
            memory[begin : begin + _USED.size] = _USED.pack(size)
        finally:
            unlock(mutex)

    def _read(self, begin: int) -> bytes:
        """Return the entries of a bucket. To be called with its lock."""
        memory = self._memory.memory
        (used,) = _USED.unpack_from(memory, begin)
        return memory[begin + _USED.size : begin + _USED.size + min(used, _ROOM)]

    def __repr__(self) -> str:
        return f"<shared sessions: {self._memory!r}>"


def _each(entries: bytes) -> list[tuple[bytes, int, int, int]]:
    """Return the id of each entry, its end in unix seconds, and where its session begins and ends."""
    found = []
    at = 0
    while at + _HEAD.size <= len(entries):
        length, id_length, expires = _HEAD.unpack_from(entries, at)
        session = at + _HEAD.size + id_length
        end = session + length
        found.append((entries[session - id_length : session], expires, session, end))
        at = end
    return found
