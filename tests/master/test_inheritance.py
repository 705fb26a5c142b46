"""What a master finds in its environment: NGINX, LISTEN_FDS and our own variable."""

import os
import socket

import pytest

from master.inheritance import open_inherited, read_nginx_variable, read_numbers, take_inheritance, write_numbers
from wproxy.address import Address


def read(value):
    complaints = []
    numbers = read_nginx_variable(value, complaints)
    return numbers, [text for level, text in complaints if level == "emerg"]


@pytest.mark.parametrize(
    ("value", "numbers"), (("6;7;", [6, 7]), ("6:7:", [6, 7]), ("6;7:8;", [6, 7, 8]), ("40;", [40]), ("", []))
)
def test_descriptors_end_with_a_semicolon_or_a_colon(value, numbers):
    assert read(value) == (numbers, [])


@pytest.mark.parametrize(
    ("value", "numbers", "complaint"),
    (
        ("6;x;7;", [6], 'invalid socket number "x" in NGINX environment variable, ignoring the rest of the variable'),
        ("6;7", [6], 'invalid socket number "7" in NGINX environment variable, ignoring'),
        (";", [], 'invalid socket number "" in NGINX environment variable, ignoring the rest of the variable'),
        ("-1;", [], 'invalid socket number "-1" in NGINX environment variable, ignoring the rest of the variable'),
        ("²;", [], 'invalid socket number "²" in NGINX environment variable, ignoring the rest of the variable'),
    ),
)
def test_what_is_no_number_is_complained_about_and_ends_the_reading(value, numbers, complaint):
    assert read(value) == (numbers, [complaint])


def test_every_variable_is_taken_out_of_the_environment():
    environment = {"NGINX": "6;", "WPROXY_UPGRADE": "x", "LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a", "TZ": "UTC"}
    take_inheritance(environment, 10, 1)
    assert environment == {"TZ": "UTC"}


def test_a_service_managers_sockets_are_numbered_from_three_and_have_names():
    given = take_inheritance({"LISTEN_PID": "10", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "web:tls"}, 10, 1)
    assert given.sockets == [(3, "web"), (4, "tls"), (5, "")]
    assert not given.counts_as_daemon and not given.is_upgrade


@pytest.mark.parametrize("wrong", ({"LISTEN_PID": "11"}, {"LISTEN_FDS": "many"}, {"LISTEN_FDS": ""}, {"LISTEN_PID": ""}))
def test_sockets_for_another_process_are_not_ours(wrong):
    assert take_inheritance({"LISTEN_PID": "10", "LISTEN_FDS": "1", **wrong}, 10, 1).sockets == []


def test_nginxs_variable_alone_makes_a_daemon_and_no_upgrade_of_ours():
    given = take_inheritance({"NGINX": "6;"}, 10, 1)
    assert given.counts_as_daemon and not given.is_upgrade
    assert given.sockets == [(6, "")]


def test_the_rest_of_a_predecessor_is_taken_only_from_our_parent():
    ours = write_numbers(parent=5, foreground=1, memory=7, report=8, errors=9)
    given = take_inheritance({"NGINX": "6;", "WPROXY_UPGRADE": ours}, 10, 5)
    assert (given.is_upgrade, given.is_foreground, given.memory, given.report, given.errors) == (True, True, 7, 8, 9)
    given = take_inheritance({"NGINX": "6;", "WPROXY_UPGRADE": ours}, 10, 4)
    assert (given.is_upgrade, given.memory, given.report, given.errors) == (False, -1, -1, -1)


def test_numbers_are_read_back_and_junk_is_passed_over():
    assert read_numbers(write_numbers(parent=1, memory=22)) == {"parent": 1, "memory": 22}
    assert read_numbers("parent=x memory= =3 report=-1 ok=4 =") == {"": 3, "ok": 4}


def test_a_listening_socket_is_known_by_its_address():
    with socket.create_server(("127.0.0.1", 0)) as one:
        address, same = open_inherited(os.dup(one.fileno()))
        with same:
            assert address == Address("127.0.0.1", one.getsockname()[1])
            assert not same.getblocking() and not same.get_inheritable()


def test_a_unix_socket_is_known_by_its_path(tmp_path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"{tmp_path}/a.sock")
        one.listen()
        address, same = open_inherited(os.dup(one.fileno()))
        same.close()
        assert address == Address(f"{tmp_path}/a.sock", -1)


@pytest.mark.parametrize("kind", ("datagram", "not listening", "file", "closed"))
def test_what_is_no_listening_socket_is_refused_in_words(kind):
    if kind == "datagram":
        fileno = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()
    elif kind == "not listening":
        fileno = socket.socket().detach()
    elif kind == "file":
        fileno = os.open(os.devnull, os.O_RDONLY)
    else:
        fileno = os.open(os.devnull, os.O_RDONLY)
        os.close(fileno)
    with pytest.raises(ValueError, match=f"#{fileno}"):
        open_inherited(fileno)
    if kind == "file":
        os.close(fileno)  # whatever it is, it is not ours to close
    else:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fileno)
