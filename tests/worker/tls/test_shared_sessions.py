"""Sessions that all workers know: until when, which ones give way, and what OpenSSL makes of them."""

from __future__ import annotations

import mmap
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from tests.authority import authority
from tests.handshakes import shake, trusting_anybody
from worker.tls.shared_sessions import SharedSessions
from wproxy.http import Clock
from wproxy.tls.openssl import find_openssl
from wproxy.tls.session_memory import SessionMemory

NOW = 1_800_000_000.0


def session_id(number: int) -> bytes:
    return number.to_bytes(8, "little") + bytes(24)


def workers(timeout: int = 300, size: int = 1 << 15) -> tuple[SharedSessions, SharedSessions, Clock]:
    """Two workers that share a zone, and their clock."""
    memory, clock = SessionMemory(mmap.mmap(-1, size)), Clock(0.0, NOW)
    return SharedSessions(memory, clock, timeout), SharedSessions(memory, clock, timeout), clock


def test_a_session_is_known_to_all_workers_until_it_ends_or_is_forgotten():
    one, other, clock = workers()
    one.keep(session_id(1), b"first")
    other.keep(session_id(2), b"second")
    one.keep(session_id(2), b"second anew")
    assert [other.find(session_id(number)) for number in range(4)] == [b"", b"first", b"second anew", b""]
    other.forget(session_id(1))
    other.forget(session_id(3))
    assert one.find(session_id(1)) == b""
    clock.now = 299
    assert one.find(session_id(2)) == b"second anew"
    clock.now = 300
    assert one.find(session_id(2)) == b""


def test_in_a_full_zone_the_oldest_give_way():
    one, other, _ = workers()
    for number in range(1000):
        one.keep(session_id(number), b"%d" % number * 50)
    known = [number for number in range(1000) if other.find(session_id(number))]
    assert all(other.find(session_id(number)) == b"%d" % number * 50 for number in known)
    assert 100 < len(known) < 400 and known == list(range(1000 - len(known), 1000))


def test_a_session_that_is_too_long_is_not_kept_and_changes_nothing():
    one, other, _ = workers()
    one.keep(session_id(1), b"first")
    for size in (4090, 65_536, 100_000):
        one.keep(session_id(2), b"x" * size)
    assert other.find(session_id(2)) == b"" and other.find(session_id(1)) == b"first"


def test_a_worker_that_is_killed_leaves_no_half_of_a_session():
    """The bucket counts as empty while it is written."""
    one, other, _ = workers(size=1 << 15)
    one.keep(session_id(1), b"first")
    memory = one._memory
    _, begin = memory.place(session_id(1))
    memory.memory[begin : begin + 4] = bytes(4)
    assert other.find(session_id(1)) == b""
    other.keep(session_id(1), b"again")
    assert one.find(session_id(1)) == b"again"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_openssl_resumes_a_session_of_another_context(tmp_path: Path, version: ssl.TLSVersion):
    openssl = find_openssl()
    assert openssl is not None
    files = [str(path) for path in authority().issue("site", ["site"]).write(tmp_path, "site")]
    kept = workers()
    servers = []
    for sessions in kept[:2]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        context.options |= ssl.OP_NO_TICKET
        context.maximum_version = version
        openssl.set_session_context(context, b"the same")
        openssl.share_sessions(context, sessions.find, sessions.keep, sessions.forget)
        servers.append(context)
    client = trusting_anybody()
    session = None
    resumed = []
    for server in (*servers, *servers):
        ours, theirs = shake(server, client, session)
        session = theirs.session
        resumed.append(theirs.session_reused)
        with suppress(ssl.SSLWantReadError):
            ours.unwrap()  # a connection that does not end in peace takes its session with it
    assert resumed == [False, True, True, True]
