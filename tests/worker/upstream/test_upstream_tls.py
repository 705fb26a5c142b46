"""Requests to upstreams over TLS: what is verified, shown, sent, resumed and kept, and what a failure does."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from conversation import End, Peer, Stage, get, ok, post, sent_up, to_client
from tls_peer import TlsPeer

import worker.upstream.tls.stream
from tests.authority import authority, self_signed
from wproxy.tls.upstreams import UpstreamContext

ROOT = authority()
HOUSE = Path(__file__).parents[3]


@pytest.fixture
def stage(monkeypatch, tmp_path):
    """Makes a stage with a TLS peer; `settings` are proxy_ssl_* of its location."""
    stages: list[Stage] = []

    def make(issued=None, settings: str = "", pass_to: str = "https://app", **more) -> Stage:
        issued = issued or ROOT.issue("app.example", ["app.example"])
        peers = more.pop("peers", None) or [TlsPeer(issued.write(tmp_path / "peer", "peer"))]
        (tmp_path / "root.pem").write_bytes(ROOT.pem)
        text = f'{settings}\nproxy_pass = "{pass_to}"\n'
        more.setdefault("locations", f'[http.server.location."/tls/"]\n{text}')
        made = Stage(monkeypatch, str(tmp_path), peers=peers, **more)
        stages.append(made)
        return made

    yield make
    for made in stages:
        made.close()


VERIFY = 'proxy_ssl_verify = true\nproxy_ssl_trusted_certificate = "root.pem"\nproxy_ssl_name = "app.example"\n'


COUNTED = (
    '[http.server.location."/metrics"]\nmetrics = []\n[http.server.location."/tls/"]\n{settings}\nproxy_pass = "https://app"\n'
)


def handshakes(play: Stage) -> dict[str, int]:
    """What is counted of handshakes with the peer, without zeros."""
    play.group().publish()
    play.worker.counting.publish()
    return {name: count for name, count in play.worker.counting.reader.peer(0).tls.items() if count}


def exchange(stage: Stage, end, client=None, body: bytes = b"ok"):
    """One request and its answer on this connection of the peer's."""
    end.receives(sent_up(b"/tls/"))
    end.send(ok(body))
    if client is not None:
        client.receives(to_client(body))


def test_a_request_goes_over_tls_and_the_connection_is_kept(stage):
    play = stage()
    client = play.client().send(get(b"/tls/"))
    end = play.peers[0].accept()
    exchange(play, end, client)
    client.send(get(b"/tls/"))
    exchange(play, end, client)
    assert play.peers[0].names == [None], "no name is sent by default"
    assert play.statuses() == ["200", "200"]


def unchunked(data: bytes) -> bytes:
    """The payload of a chunked body."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if not int(size, 16):
            return body
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]


def test_bodies_go_both_ways(stage):
    play = stage()
    body = bytes(range(256)) * 4096
    client = play.client().send(post(body, b"/tls/"))
    end = play.peers[0].accept()
    end.receives(sent_up(b"/tls/", b"Content-Length: %d" % len(body), method=b"POST") + body)
    end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n" + body + b"\r\n0\r\n\r\n")
    head = client.receives_head()
    assert b"chunked" in head
    play.until(lambda: client.pull_all().endswith(b"0\r\n\r\n"), "the end of the body")
    assert unchunked(client.take()) == body


def test_host_and_port_are_those_of_https(stage):
    play = stage(
        locations='[http.server.location."/tls/"]\nproxy_set_header = { Host = "$proxy_host $proxy_port" }\nproxy_pass = "https://app"\n'
    )
    play.client().send(get(b"/tls/"))
    end = play.peers[0].accept()
    assert b"Host: app 443\r\n" in end.receives_head()


# The certificate of the peer.


def test_a_trusted_certificate_for_the_name_is_accepted(stage):
    play = stage(settings=VERIFY)
    client = play.client().send(get(b"/tls/"))
    exchange(play, play.peers[0].accept(), client)


@pytest.mark.parametrize(
    ("make", "told", "counted"),
    [
        (
            lambda: self_signed("app.example", ["app.example"]),
            "upstream SSL certificate verify error: (18:self-signed certificate)",
            "other",
        ),
        (
            lambda: authority("Other").issue("app.example", ["app.example"]),
            "upstream SSL certificate verify error: (21:unable to verify the first certificate)",
            "other",
        ),
        (
            lambda: ROOT.issue("app.example", ["app.example"], days=-1),
            "upstream SSL certificate verify error: (10:certificate has expired)",
            "expired_cert",
        ),
        (
            lambda: ROOT.issue("app.example", ["app.example"], begins=0.5),
            "upstream SSL certificate verify error: (9:certificate is not yet valid)",
            "other",
        ),
        (
            lambda: ROOT.issue("app.example", ["x.example"]),
            'upstream SSL certificate does not match "app.example"',
            "hostname_mismatch",
        ),
        (
            lambda: ROOT.issue("A", is_authority=True).issue("B", is_authority=True).issue("app.example", ["app.example"]),
            "upstream SSL certificate verify error: (20:unable to get local issuer certificate)",
            "other",
        ),
    ],
    ids=["self-signed", "another authority", "expired", "not yet valid", "another name", "a long chain"],
)
def test_a_certificate_that_is_not_right_is_a_502_in_nginx_s_words(stage, make, told, counted):
    play = stage(make(), locations=COUNTED.format(settings=VERIFY))
    client = play.client().send(get(b"/tls/"))
    sock = play.peers[0].begin()

    def goes_on() -> bool:
        try:
            sock.shake()
        except ssl.SSLError:
            pass
        return bool(client.pull_all())

    play.until(goes_on, "an answer")
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    sock.close()
    (line,) = (line for line in play.error_log() if "upstream SSL" in line)
    line = line.replace("valid or the system clock is incorrect", "valid")  # so OpenSSL 3.6 has it
    assert f"{told} while SSL handshaking to upstream, client: 127.0.0.1" in line
    assert f'upstream: "https://{play.peers[0].name}/tls/"' in line
    assert handshakes(play) == {"handshakes_failed": 1, counted: 1}
    assert play.last_access()["upstream_status"] == "502"
    client.close()


def test_a_chain_that_is_too_long_names_the_limit(stage):
    chain = ROOT.issue("A", is_authority=True).issue("B", is_authority=True).issue("app.example", ["app.example"])
    play = stage(chain, VERIFY)
    client = play.client().send(get(b"/tls/"))
    play.peers[0].fails()
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    assert any(line.endswith("(proxy_ssl_verify_depth 1: default)") for line in play.error_log())
    client.close()


def test_one_intermediate_authority_is_within_the_default_depth(stage):
    play = stage(ROOT.issue("A", is_authority=True).issue("app.example", ["app.example"]), VERIFY)
    client = play.client().send(get(b"/tls/"))
    exchange(play, play.peers[0].accept(), client)


def test_a_longer_chain_needs_a_greater_depth(stage):
    chain = ROOT.issue("A", is_authority=True).issue("B", is_authority=True).issue("app.example", ["app.example"])
    play = stage(chain, VERIFY + "proxy_ssl_verify_depth = 2\n")
    client = play.client().send(get(b"/tls/"))
    exchange(play, play.peers[0].accept(), client)


def test_a_revoked_certificate_is_refused(stage, tmp_path):
    issued = ROOT.issue("app.example", ["app.example"])
    (tmp_path / "revoked.pem").write_bytes(ROOT.revoke(issued))
    play = stage(issued, VERIFY + 'proxy_ssl_crl = "revoked.pem"\n')
    client = play.client().send(get(b"/tls/"))
    assert "REVOKED" in str(play.peers[0].fails())
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    assert any("(23:certificate revoked) while SSL handshaking" in line for line in play.error_log())
    client.close()


def test_a_certificate_that_was_not_revoked_passes_the_list(stage, tmp_path):
    (tmp_path / "revoked.pem").write_bytes(ROOT.revoke(ROOT.issue("other.example")))
    play = stage(None, VERIFY + 'proxy_ssl_crl = "revoked.pem"\n')
    client = play.client().send(get(b"/tls/"))
    exchange(play, play.peers[0].accept(), client)


def test_nothing_is_verified_by_default(stage):
    play = stage(self_signed("nobody", days=-1))
    client = play.client().send(get(b"/tls/"))
    exchange(play, play.peers[0].accept(), client)


# Names.


@pytest.mark.parametrize(
    ("settings", "pass_to", "sent"),
    [
        ("proxy_ssl_server_name = true\n", "https://app", "app"),
        ('proxy_ssl_server_name = true\nproxy_ssl_name = "x.example:8443"\n', "https://app", "x.example"),
        ('proxy_ssl_server_name = true\nproxy_ssl_name = "$arg_name"\n', "https://app", "by-argument.example"),
        ('proxy_ssl_server_name = true\nproxy_ssl_name = "192.0.2.1"\n', "https://app", None),
        ('proxy_ssl_name = "x.example"\n', "https://app", None),
        ('proxy_ssl_server_name = true\nproxy_ssl_name = "bücher.example"\n', "https://app", "xn--bcher-kva.example"),
        ('proxy_ssl_server_name = true\nproxy_ssl_name = ""\n', "https://app", None),
    ],
)
def test_the_name_that_is_sent(stage, settings, pass_to, sent):
    play = stage(None, settings, pass_to)
    play.client().send(get(b"/tls/?name=by-argument.example"))
    play.peers[0].accept()
    assert play.peers[0].names == [sent]


def test_a_name_that_cannot_be_sent_is_a_500_and_blames_no_peer(stage):
    play = stage(None, 'proxy_ssl_server_name = true\nproxy_ssl_name = "$arg_name"\n')
    client = play.client().send(get(b"/tls/?name=a..b"))
    assert client.receives_head().startswith(b"HTTP/1.1 500 ")
    assert any('the name "a..b" cannot be sent while SSL handshaking to upstream' in line for line in play.error_log())
    client.close()


def test_connections_are_shared_only_by_requests_of_one_name(stage):
    play = stage(None, 'proxy_ssl_server_name = true\nproxy_ssl_name = "$arg_name"\n')
    peer = play.peers[0]
    ends = {}
    for name in (b"a", b"b", b"a"):
        client = play.client().send(get(b"/tls/?name=" + name))
        end = ends[name] = ends.get(name) or peer.accept()
        end.receives(sent_up(b"/tls/?name=" + name))
        end.send(ok())
        client.receives(to_client())
    assert peer.names == ["a", "b"]


def test_a_clear_connection_is_never_taken_for_an_encrypted_one(stage):
    play = stage(locations='[http.server.location."/tls/"]\nproxy_pass = "https://app"\n')
    peer = play.peers[0]
    play.client().send(get(b"/"))
    clear = peer.accept_raw()
    clear.setblocking(True)
    assert clear.recv(65536).startswith(b"GET / HTTP/1.1\r\n")
    clear.sendall(ok())
    play.settle()
    client = play.client().send(get(b"/tls/"))
    exchange(play, peer.accept(), client)
    clear.close()


def test_locations_with_equal_settings_share_connections(stage):
    text = "".join(f'[http.server.location."/{name}/"]\n{VERIFY}proxy_pass = "https://app"\n' for name in ("a", "b"))
    play = stage(locations=text)
    end = None
    for path in (b"/a/", b"/b/"):
        client = play.client().send(get(path))
        end = end or play.peers[0].accept()
        end.receives(sent_up(path))
        end.send(ok())
        client.receives(to_client())


def test_variables_may_lead_to_https(stage):
    play = stage(
        locations='[http.server.location."/tls/"]\nset = [["$backend", "https://app/x"]]\nproxy_ssl_server_name = true\nproxy_pass = "$backend"\n'
    )
    client = play.client().send(get(b"/tls/"))
    end = play.peers[0].accept()
    end.receives(sent_up(b"/x"))
    end.send(ok())
    client.receives(to_client())
    assert play.peers[0].names == ["app"]


# Our own certificate.


def demanding(peer: TlsPeer, tmp_path) -> None:
    """Have a peer demand a certificate of ours."""
    (tmp_path / "clients.pem").write_bytes(ROOT.pem)
    peer.context.load_verify_locations(tmp_path / "clients.pem")
    peer.context.verify_mode = ssl.CERT_REQUIRED


@pytest.mark.parametrize("password", ["", "secret"])
def test_our_certificate_is_shown(stage, tmp_path, password):
    ROOT.issue("us.example").write(tmp_path, "us", password)
    (tmp_path / "passwords").write_text("wrong\nsecret\n")
    settings = 'proxy_ssl_certificate = "us.pem"\nproxy_ssl_certificate_key = "us.key"\nproxy_ssl_password_file = "passwords"\n'
    play = stage(None, settings)
    demanding(play.peers[0], tmp_path)
    client = play.client().send(get(b"/tls/"))
    end = play.peers[0].accept()
    assert end.sock.tls.getpeercert()["subject"] == ((("commonName", "us.example"),),)
    exchange(play, end, client)


def test_each_request_may_show_its_own_certificate(stage, tmp_path):
    for name in ("one", "two"):
        ROOT.issue(name).write(tmp_path, name)
    play = stage(None, 'proxy_ssl_certificate = "$arg_name.pem"\nproxy_ssl_certificate_key = "$arg_name.key"\n')
    demanding(play.peers[0], tmp_path)
    shown = []
    for name in (b"one", b"two"):
        client = play.client().send(get(b"/tls/?name=" + name))
        end = play.peers[0].accept()
        shown.append(end.sock.tls.getpeercert()["subject"][0][0][1])
        end.receives(sent_up(b"/tls/?name=" + name))
        end.send(ok())
        client.receives(to_client())
    assert shown == ["one", "two"]
    client = play.client().send(get(b"/tls/?name=three"))
    assert client.receives_head().startswith(b"HTTP/1.1 500 ")
    assert any("three.pem" in line and "while SSL handshaking to upstream" in line for line in play.error_log())
    client.close()


def test_a_certificate_with_variables_is_kept_until_its_file_changes(stage, tmp_path, monkeypatch):
    read: list[str] = []
    load = UpstreamContext.with_certificate

    def note(self, certificate, key):
        read.append(certificate)
        return load(self, certificate, key)

    monkeypatch.setattr(UpstreamContext, "with_certificate", note)
    ROOT.issue("one").write(tmp_path, "one")
    play = stage(None, 'proxy_ssl_certificate = "$arg_name.pem"\nproxy_ssl_certificate_key = "$arg_name.key"\n')
    demanding(play.peers[0], tmp_path)

    def shown() -> str:
        client = play.client().send(get(b"/tls/?name=one"))
        end = play.peers[0].accept()
        end.receives(sent_up(b"/tls/?name=one"))
        end.send(ok(b"ok", b"Connection: close"))
        client.receives(to_client())
        end.close()
        return end.sock.tls.getpeercert()["subject"][0][0][1]

    assert (shown(), shown()) == ("one", "one")
    ROOT.issue("renewed").write(tmp_path, "one")
    assert shown() == "renewed"
    assert read == ["", f"{tmp_path}/one.pem", f"{tmp_path}/one.pem"], "once for the location, once for each content"


def test_a_command_of_openssl_is_carried_out(stage):
    play = stage(None, 'proxy_ssl_conf_command = [["Ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"]]\n')
    client = play.client().send(get(b"/tls/"))
    end = play.peers[0].accept()
    assert end.sock.tls.cipher()[0] == "TLS_CHACHA20_POLY1305_SHA256"
    exchange(play, end, client)


def test_an_empty_certificate_is_none(stage):
    settings = 'proxy_ssl_certificate = "$arg_name"\nproxy_ssl_certificate_key = "$arg_name"\n'
    play = stage(None, settings)
    client = play.client().send(get(b"/tls/"))
    exchange(play, play.peers[0].accept(), client)


# Handshakes that fail.


def test_garbage_instead_of_a_handshake_is_an_error(stage):
    play = stage()
    client = play.client().send(get(b"/tls/"))
    sock = play.peers[0].accept_raw()
    sock.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    (line,) = (line for line in play.error_log() if "SSL_do_handshake() failed" in line)
    assert "wrong version number) while SSL handshaking to upstream" in line
    assert play.last_access()["upstream_status"] == "502"
    sock.close()
    client.close()


def test_a_peer_that_closes_instead_of_shaking_hands_is_an_error(stage):
    play = stage()
    client = play.client().send(get(b"/tls/"))
    play.peers[0].accept_raw().close()
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    assert any("in SSL handshake" in line and "while SSL handshaking to upstream" in line for line in play.error_log())
    client.close()


def test_a_peer_that_never_answers_the_hello_is_a_timeout_of_connecting(stage):
    play = stage(None, 'proxy_connect_timeout = "5s"\n')
    client = play.client().send(get(b"/tls/"))
    sock = play.peers[0].accept_raw()
    play.advance(4.9)
    client.receives_nothing()
    play.advance(0.2)
    assert client.receives_head().startswith(b"HTTP/1.1 504 ")
    (line,) = (line for line in play.error_log() if "timed out" in line)
    assert "upstream timed out (110: Connection timed out) while SSL handshaking to upstream, client: " in line
    assert line.endswith(f"(proxy_connect_timeout 5: {play.position('proxy_connect_timeout')})")
    sock.close()
    client.close()


def test_the_time_to_connect_includes_the_handshake(stage):
    play = stage()
    client = play.client().send(get(b"/tls/"))
    sock = play.peers[0].begin()
    play.advance(1.5)
    play.until(sock.shake, "a handshake")
    end = End(play, sock, "upstream")
    exchange(play, end, client)
    assert 1.5 <= float(play.last_access()["upstream_connect_time"]) < 2


def test_a_client_that_leaves_amid_the_handshake_ends_it(stage):
    play = stage()
    client = play.client().send(get(b"/tls/"))
    sock = play.peers[0].accept_raw()
    client.close()
    play.until(lambda: play.access_log(), "a line in the access log")
    assert play.last_access()["status"] == "499"
    assert any(
        "client prematurely closed connection, so upstream connection is closed too while SSL handshaking to upstream" in line
        for line in play.error_log()
    )
    sock.setblocking(True)
    assert sock.recv(65536) and not sock.recv(65536), "the hello, and the end"
    sock.close()


def test_an_upstream_on_a_unix_socket_speaks_tls_too(stage, tmp_path):
    peer = TlsPeer(ROOT.issue("app.example", ["app.example"]).write(tmp_path, "peer"), str(tmp_path / "app.sock"))
    play = stage(None, VERIFY, f"https://unix:{tmp_path}/app.sock", peers=[peer])
    client = play.client().send(get(b"/tls/"))
    end = peer.accept()
    end.receives(sent_up(b"/tls/", host=b"localhost"))
    end.send(ok())
    client.receives(to_client())


def test_a_failed_handshake_is_tried_at_another_peer(stage, tmp_path):
    broken = Peer()
    play = stage(peers=[broken, TlsPeer(ROOT.issue("app").write(tmp_path, "peer"))])
    client = play.client().send(get(b"/tls/"))
    play.until(lambda: says_nonsense(broken), "a connection")
    exchange(play, play.peers[1].accept(), client)
    assert play.last_access()["upstream_status"] == "502, 200"


def says_nonsense(peer: Peer) -> bool:
    sock = peer._try_accept()
    if sock is None:
        return False
    sock.send(b"no TLS here")
    sock.close()
    return True


# Sessions.


@pytest.mark.parametrize("has_own_calls", [True, False])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_further_connection_resumes_the_session(stage, version, has_own_calls, monkeypatch):
    if not has_own_calls:
        monkeypatch.setattr(worker.upstream.tls.stream, "find_openssl", lambda: None)
    play = stage(None, VERIFY)
    peer = play.peers[0]
    peer.context.maximum_version = version
    resumed = []
    for _ in range(3):
        client = play.client().send(get(b"/tls/"))
        end = peer.accept()
        resumed.append(end.sock.tls.session_reused)
        end.receives(sent_up(b"/tls/"))
        end.send(ok(b"ok", b"Connection: close"))
        client.receives(to_client())
        end.sock.shutdown(0)
        end.close()
    assert resumed == [False, True, True]


def test_no_session_is_resumed_if_that_is_off(stage):
    play = stage(None, "proxy_ssl_session_reuse = false\n")
    for _ in range(2):
        client = play.client().send(get(b"/tls/"))
        end = play.peers[0].accept()
        assert not end.sock.tls.session_reused
        end.receives(sent_up(b"/tls/"))
        end.send(ok(b"ok", b"Connection: close"))
        client.receives(to_client())
        end.close()


# Connections.


def test_an_idle_connection_that_says_its_end_is_not_used_again(stage):
    play = stage()
    client = play.client().send(get(b"/tls/"))
    end = play.peers[0].accept()
    exchange(play, end, client)
    end.sock.shutdown(0)
    end.close()
    client.send(get(b"/tls/"))
    exchange(play, play.peers[0].accept(), client)
    assert play.last_access()["upstream_status"] == "200"


def test_a_connection_that_dies_while_idle_is_replaced_without_blame(stage):
    play = stage()
    client = play.client().send(get(b"/tls/"))
    end = play.peers[0].accept()
    exchange(play, end, client)
    client.send(get(b"/tls/"))
    end.receives(sent_up(b"/tls/"))
    end.close()
    exchange(play, play.peers[0].accept(), client)
    assert play.last_access()["upstream_status"] == "200"


def test_an_upgrade_goes_over_tls(stage):
    play = stage(
        None,
        'proxy_set_header = { Upgrade = "$http_upgrade", Connection = "upgrade" }\n',
    )
    client = play.client().send(get(b"/tls/", b"Connection: upgrade", b"Upgrade: websocket"))
    end = play.peers[0].accept()
    assert b"Upgrade: websocket" in end.receives_head()
    end.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello")
    assert client.receives_head().startswith(b"HTTP/1.1 101 ")
    client.receives(b"hello")
    client.send(b"ping")
    end.receives(b"ping")
    end.send(b"pong" * 50000)
    play.until(lambda: len(client.pull_all()) == 200000, "all of the pongs")
    client.close()
    play.settle()
    end.close()


# Other protocols inside of TLS


def test_uwsgi_goes_over_tls_by_its_own_settings(stage):
    settings = "".join(f"uwsgi_{line.removeprefix('proxy_')}\n" for line in VERIFY.splitlines())
    play = stage(locations=f'[http.server.location."/tls/"]\n{settings}uwsgi_pass = "suwsgi://app"\n')
    for _ in range(2):
        client = play.client().send(get(b"/tls/"))
        end = play.peers[0].accept()
        host = b"\x09\x00HTTP_HOST\x01\x00h"
        end.receives(b"\0" + len(host).to_bytes(2, "little") + b"\0" + host)
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        client.receives(to_client(b"ok"))
    assert play.statuses() == ["200", "200"]


def test_a_uwsgi_server_that_cannot_be_verified_is_a_502(stage):
    settings = VERIFY.replace("proxy_", "uwsgi_").replace("app.example", "other.example")
    play = stage(locations=f'[http.server.location."/tls/"]\n{settings}uwsgi_pass = "suwsgi://app"\n')
    client = play.client().send(get(b"/tls/"))
    play.peers[0].accept()
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    assert any('upstream: "suwsgi://' in line for line in play.error_log())


@pytest.mark.parametrize(
    ("url", "is_loaded"),
    [("http://$host", False), ("$scheme://$host", True)],
)
def test_openssl_is_loaded_before_the_first_request_where_it_may_be_needed(tmp_path, url, is_loaded):
    """In a process of its own: here it is loaded already."""
    conf = f"events {{}} http {{ resolver 127.0.0.1; server {{ listen 8080; location / {{ proxy_pass {url}; }} }} }}"
    script = (
        "import sys\n"
        "from wproxy.config.convert import NGINX, read_document\n"
        "from wproxy.config.load import resolve_document\n"
        "document = read_document(sys.argv[1].encode(), 't.conf', NGINX)\n"
        "configuration = resolve_document(document, 't.conf', sys.argv[2], None)\n"
        "server = configuration.servers[0]\n"
        "from worker.explain.rehearsal import Rehearsal\n"
        "from worker.attach import attach_server\n"
        "attach_server(server, Rehearsal(configuration).services)\n"
        "print('worker.upstream.tls.open' in sys.modules, 'ssl' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, conf, str(tmp_path)], capture_output=True, text=True, cwd=HOUSE, timeout=60, check=False
    )
    assert done.stdout == f"{is_loaded} {is_loaded}\n", done.stderr


def test_handshakes_are_counted_by_how_they_end(stage):
    play = stage(locations=COUNTED.format(settings=""), is_shared=True)
    client = play.client().send(get(b"/tls/"))
    exchange(play, play.peers[0].accept(), client)
    assert handshakes(play) == {"handshakes": 1}
