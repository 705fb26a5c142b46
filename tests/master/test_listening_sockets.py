"""Listening sockets, across reloads."""

import os
import re
import socket
import stat
from contextlib import contextmanager

import pytest
from running_master import connect

from bench.ports import free_port
from master.sockets import ListeningSockets, probe, share
from wproxy.address import parse_listen_address
from wproxy.config.model import Listener
from wproxy.config.tree import ConfigurationError, Position
from wproxy.directives.listen import KeepaliveProbes, SocketOptions


@pytest.fixture
def sockets():
    sockets = ListeningSockets()
    yield sockets
    sockets.close()


def listener(text, line=1, **options):
    return Listener(parse_listen_address(text), Position("wproxy.toml", line, 8), SocketOptions(**options))


def tcp(host="127.0.0.1", **settings):
    return listener(f"{host}:{free_port()}", **settings)


def unix(tmp_path):
    return listener(f"unix:{tmp_path}/front.sock")


def held(sockets, one):
    return sockets.of([one])[0][1]


def accept_from_each(listening, count):
    """How many of `count` connections each socket has; leaves the queues empty."""
    found = [0] * len(listening)
    for number, one in enumerate(listening):
        while True:
            try:
                one.accept()[0].close()
            except BlockingIOError:
                break
            found[number] += 1
    assert sum(found) == count
    return found


@contextmanager
def clients(one, count):
    opened = [connect(one.address) for _ in range(count)]
    yield opened
    for client in opened:
        client.close()


def test_an_address_gets_a_socket_for_each_worker_and_connections_are_spread_over_them(sockets):
    one = tcp()
    sockets.bind([one], 4)
    with clients(one, 80):
        assert all(accept_from_each(held(sockets, one), 80))


def test_they_do_not_block_and_workers_do_not_hand_them_down_to_programs(sockets):
    one = tcp()
    sockets.bind([one], 2)
    for listening in held(sockets, one):
        assert not listening.getblocking() and not listening.get_inheritable()


def test_an_ipv6_socket_leaves_ipv4_alone(sockets):
    port = free_port()
    four, six = listener(f"0.0.0.0:{port}"), listener(f"[::]:{port}")
    sockets.bind([six, four], 2)
    assert held(sockets, six)[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_a_wildcard_and_an_address_of_the_same_port_go_together(sockets):
    port = free_port()
    narrow, wide = listener(f"127.0.0.1:{port}"), listener(f"*:{port}")
    sockets.bind([narrow, wide], 2)
    with clients(narrow, 5):
        accept_from_each(held(sockets, narrow), 5)


def test_worker_i_serves_the_sockets_i_mod_n_and_every_unix_socket(sockets, tmp_path):
    one, local = tcp(), unix(tmp_path)
    sockets.bind([one, local], 4)
    filenos = [listening.fileno() for listening in held(sockets, one)]
    (local_fileno,) = (listening.fileno() for listening in held(sockets, local))

    def served(index, workers):
        return [listening.fileno for listening in share(sockets.of([one, local]), index, workers)]

    assert served(1, 4) == [filenos[1], local_fileno]
    assert served(0, 3) == [filenos[0], filenos[3], local_fileno]
    assert served(0, 1) == [*filenos, local_fileno]


def test_fewer_workers_close_no_socket(sockets):
    one = tcp()
    sockets.bind([one], 4)
    sockets.commit([one])
    before = held(sockets, one)
    sockets.bind([one], 1)
    sockets.commit([one])
    assert held(sockets, one) == before


def test_more_workers_add_sockets_that_get_connections_only_after_the_commit(sockets):
    one = tcp()
    sockets.bind([one], 2)
    sockets.commit([one])
    sockets.bind([one], 4)
    with clients(one, 60):
        assert accept_from_each(held(sockets, one), 60)[2:] == [0, 0]
    sockets.commit([one])
    with clients(one, 80):
        assert all(accept_from_each(held(sockets, one), 80))


def test_one_worker_may_become_many(sockets):
    one = tcp()
    sockets.bind([one], 1)
    sockets.commit([one])
    sockets.bind([one], 3)
    with clients(one, 30):
        assert accept_from_each(held(sockets, one), 30)[1:] == [0, 0]
    sockets.commit([one])
    with clients(one, 60):
        assert all(accept_from_each(held(sockets, one), 60))


def test_a_roll_back_closes_what_is_new_and_loses_no_connection(sockets):
    one, other = tcp(), tcp()
    sockets.bind([one], 2)
    sockets.commit([one])
    before = held(sockets, one)
    sockets.bind([one, other], 4)
    with clients(one, 40):
        sockets.roll_back()
        assert held(sockets, one) == before
        accept_from_each(before, 40)
    with clients(one, 40):
        assert all(accept_from_each(before, 40))
    with pytest.raises(ConnectionRefusedError):
        connect(other.address)


def test_an_address_that_is_no_longer_configured_is_closed_at_the_commit(sockets):
    one, other = tcp(), tcp()
    sockets.bind([one, other], 2)
    sockets.commit([one, other])
    sockets.bind([one], 2)
    connect(other.address).close()
    sockets.commit([one])
    with pytest.raises(ConnectionRefusedError):
        connect(other.address)


def test_a_used_port_is_told_in_nginx_s_words_with_the_place_and_nothing_stays_open(sockets):
    free, used, used_too = tcp(), tcp(line=7), tcp(line=8)
    with socket.create_server(used.address), socket.create_server(used_too.address):
        with pytest.raises(ConfigurationError) as error:
            sockets.bind([free, used, used_too], 2)
        assert list(map(str, error.value.problems)) == [
            f"bind() to {one.address} failed (98: Address already in use) in wproxy.toml:{one.position.line}:8"
            for one in (used, used_too)
        ]
        with pytest.raises(ConnectionRefusedError):
            connect(free.address)


def test_a_second_master_cannot_join_the_first_one_s_port(sockets):
    one = tcp()
    sockets.bind([one], 2)
    with pytest.raises(ConfigurationError, match="98: Address already in use"):
        ListeningSockets().bind([one], 2)


@pytest.mark.parametrize("first", [True, False])
def test_a_second_master_cannot_take_a_narrower_or_wider_address_of_the_port(sockets, first):
    port = free_port()
    both = [listener(f"127.0.0.1:{port}"), listener(f"*:{port}")]
    sockets.bind([both[first]], 2)
    with pytest.raises(ConfigurationError, match="98: Address already in use"):
        ListeningSockets().bind([both[not first]], 2)


def test_an_address_that_is_not_ours_is_an_error(sockets):
    with pytest.raises(ConfigurationError, match=r"bind\(\) to 192.0.2.1:80 failed \(99: Cannot assign"):
        sockets.bind([listener("192.0.2.1:80")], 1)


def test_a_failed_reload_leaves_the_old_sockets_alone(sockets):
    one, used = tcp(), tcp()
    sockets.bind([one], 2)
    sockets.commit([one])
    with socket.create_server(used.address), clients(one, 20):
        with pytest.raises(ConfigurationError):
            sockets.bind([one, used], 4)
        accept_from_each(held(sockets, one), 20)


def test_a_unix_socket_is_one_for_all_open_to_everybody_and_removed_at_the_end(sockets, tmp_path):
    local = unix(tmp_path)
    sockets.bind([local], 4)
    assert len(held(sockets, local)) == 1
    assert stat.S_IMODE(os.stat(local.address.host).st_mode) == 0o666
    connect(local.address).close()
    sockets.close()
    assert not os.path.exists(local.address.host)


def test_the_file_of_a_unix_socket_gets_its_mode_with_its_name_whatever_the_umask(sockets, tmp_path, monkeypatch):
    """Whoever may write to the directory could have exchanged it for a link before a mode is given to the name."""
    named = []
    monkeypatch.setattr(os, "chmod", lambda *words, **more: named.append(words))
    umask = os.umask(0o077)
    try:
        local = unix(tmp_path)
        sockets.bind([local], 1)
    finally:
        assert os.umask(umask) == 0o077
    assert stat.S_IMODE(os.stat(local.address.host).st_mode) == 0o666
    assert named == []


def test_a_socket_file_that_nobody_listens_on_is_replaced(sockets, tmp_path):
    local = unix(tmp_path)
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(local.address.host)
    sockets.bind([local], 1)
    connect(local.address).close()


def test_a_socket_file_that_somebody_listens_on_is_in_use(sockets, tmp_path):
    local = unix(tmp_path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(local.address.host)
        other.listen()
        with pytest.raises(ConfigurationError, match=r"bind\(\) to unix:.*front.sock failed \(98: "):
            sockets.bind([local], 1)
    assert os.path.exists(local.address.host)


def test_a_file_that_is_no_socket_is_not_removed(sockets, tmp_path):
    (tmp_path / "front.sock").write_text("mine")
    with pytest.raises(ConfigurationError, match="98: "):
        sockets.bind([unix(tmp_path)], 1)
    assert (tmp_path / "front.sock").read_text() == "mine"


def test_a_socket_file_that_another_has_put_in_our_place_stays(sockets, tmp_path):
    local = unix(tmp_path)
    sockets.bind([local], 1)
    os.unlink(local.address.host)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(local.address.host)
        sockets.close()
        assert os.path.exists(local.address.host)


def test_a_changed_backlog_takes_effect_at_the_commit(sockets):
    one = tcp(backlog=1)
    sockets.bind([one], 1)
    sockets.commit([one])
    wider = Listener(one.address, one.position, SocketOptions(backlog=50))
    sockets.bind([wider], 1)
    sockets.commit([wider])
    with clients(one, 20):
        accept_from_each(held(sockets, one), 20)


def test_the_options_of_listen_are_the_socket_s(sockets):
    one = tcp(
        receive_buffer=65536,
        send_buffer=32768,
        fastopen=7,
        deferred=True,
        keepalive=KeepaliveProbes(True, 120, 30, 4),
    )
    sockets.bind([one], 2)
    for member in held(sockets, one):
        # Linux doubles what it is asked for.
        assert member.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 131072
        assert member.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 65536
        assert member.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == 7
        assert member.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) == 1
        assert member.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        values = [
            member.getsockopt(socket.IPPROTO_TCP, name)
            for name in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        ]
        assert values == [120, 30, 4]


def test_a_changed_option_takes_effect_at_the_commit_and_one_that_is_not_given_is_the_system_s(sockets):
    one = tcp()
    sockets.bind([one], 1)
    sockets.commit([one])
    (member,) = held(sockets, one)
    assert member.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    changed = Listener(one.address, one.position, SocketOptions(keepalive=KeepaliveProbes()))
    sockets.bind([changed], 1)
    assert member.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    sockets.commit([changed])
    assert member.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_an_ipv6_socket_takes_ipv4_clients_where_it_is_not_for_ipv6_only(sockets):
    both = tcp("[::]", ipv6only=False)
    sockets.bind([both], 1)
    with socket.create_connection(("127.0.0.1", both.address.port), 5):
        pass
    strict = tcp("[::]")
    sockets.bind([strict], 1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", strict.address.port), 5)


# Trying, for `-t`.


def test_trying_to_bind_minds_neither_those_who_are_there_already_nor_leaves_anything(sockets, tmp_path):
    taken, free, file = tcp(), tcp(), unix(tmp_path)
    sockets.bind([taken], 1)
    assert probe([taken, free, file]) == []
    assert not os.path.exists(file.address.host)
    sockets.bind([free, file], 1)
    assert probe([file]) == []
    assert os.path.exists(file.address.host)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("192.0.2.1:80", r"bind\(\) to 192.0.2.1:80 failed \(99: Cannot assign requested address\)"),
        ("unix:{here}/none/a.sock", r"bind\(\) to unix:{here}/none/a.sock failed \(2: No such file or directory\)"),
        ("unix:{here}/file", r"bind\(\) to unix:{here}/file failed \(98: Address already in use\)"),
    ],
)
def test_trying_to_bind_tells_what_a_start_would(tmp_path, text, reason):
    (tmp_path / "file").touch()
    (problem,) = probe([listener(text.format(here=tmp_path))])
    assert re.fullmatch(reason.format(here=tmp_path), problem.text)
    assert problem.position == Position("wproxy.toml", 1, 8)


def test_a_worker_keeps_only_its_own(sockets):
    one = tcp()
    sockets.bind([one], 2)
    own, others = held(sockets, one)
    fileno, closed = own.fileno(), others.fileno()
    sockets.keep_only([fileno])
    del own
    os.fstat(fileno)
    with pytest.raises(OSError):
        os.fstat(closed)
    os.close(fileno)


def test_nothing_stays_open_at_the_end(sockets, tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    sockets.bind([tcp(), unix(tmp_path)], 3)
    sockets.close()
    assert len(os.listdir("/proc/self/fd")) == before
