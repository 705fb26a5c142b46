"""What keeps a context for upstreams from being made is told with the file, at the place of the location."""

from __future__ import annotations

import os
import ssl

import pytest

from master.upstream_contexts import upstream_contexts
from tests.authority import authority
from tests.handshakes import shake
from wproxy.config.load import load_text
from wproxy.tls.upstreams import UpstreamContext

ROOT = authority()


@pytest.fixture
def load(tmp_path):
    """Makes the contexts of a location with these settings."""
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    (tmp_path / "empty.pem").write_bytes(b"")
    ROOT.issue("us").write(tmp_path, "us", "secret")
    ROOT.issue("them").write(tmp_path, "them")
    (tmp_path / "passwords").write_text("secret\n")
    (tmp_path / "wrong").write_text("wrong\nworse\n")

    def made(settings: str, url: str = "https://127.0.0.1:1"):
        text = f"events {{}}\nhttp {{\nresolver 127.0.0.1;\nserver {{\nlocation / {{\nproxy_pass {url};\n{settings}\n}}\n}}\n}}\n"
        configuration = load_text(text.encode(), str(tmp_path / "nginx.conf"), "/", lambda host, port: [])
        contexts, problems = upstream_contexts(configuration)
        return contexts, [str(problem).replace(f"{tmp_path}/", "") for problem in problems]

    return made


OURS = "proxy_ssl_certificate us.pem; proxy_ssl_certificate_key us.key;"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("", None),
        (f"{OURS} proxy_ssl_password_file passwords;", None),
        (OURS, 'cannot load certificate "us.pem" with the key "us.key": '),
        (f"{OURS} proxy_ssl_password_file wrong;", 'cannot load certificate "us.pem" with the key "us.key": '),
        (
            "proxy_ssl_certificate us.pem; proxy_ssl_certificate_key them.key;",
            'cannot load certificate "us.pem" with the key "them.key": key values mismatch',
        ),
        (
            "proxy_ssl_verify on; proxy_ssl_trusted_certificate missing.pem;",
            'cannot load certificates "missing.pem": No such file or directory',
        ),
        (
            "proxy_ssl_verify on; proxy_ssl_trusted_certificate empty.pem;",
            'cannot load certificates "empty.pem": there is nothing',
        ),
        ("proxy_ssl_trusted_certificate missing.pem;", None),  # nothing is verified
        ("proxy_ssl_ciphers NO-SUCH-CIPHER;", 'SSL_CTX_set_cipher_list("NO-SUCH-CIPHER") failed: No cipher can be selected'),
        ("proxy_ssl_protocols TLSv1 TLSv1.3;", None),
        ("proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;", None),
        ("proxy_ssl_conf_command NoSuchCommand x;", 'SSL_CONF_cmd("NoSuchCommand", "x") failed: unknown command'),
        ('proxy_ssl_certificate ""; proxy_ssl_certificate_key "";', None),
        ("proxy_ssl_certificate $arg_a; proxy_ssl_certificate_key $arg_b;", None),
    ],
)
def test_each_setting(load, settings, told):
    contexts, problems = load(settings)
    if told is None:
        assert (len(contexts), problems) == (1, [])
    else:
        assert not contexts and len(problems) == 1 and problems[0].startswith(told) and problems[0].endswith(" in nginx.conf:6")


@pytest.mark.parametrize(
    ("url", "count"),
    [("http://127.0.0.1:1", 0), ("http://$host", 0), ("$scheme://$host", 1), ("$arg_x", 1), ("https://$host", 1)],
)
def test_contexts_are_made_where_they_may_be_needed(load, url, count):
    assert len(load("", url)[0]) == count


def test_a_further_certificate_needs_no_file_again(load, tmp_path):
    settings = (
        "proxy_ssl_verify on; proxy_ssl_trusted_certificate root.pem; proxy_ssl_password_file passwords;"
        "proxy_ssl_certificate $arg_a; proxy_ssl_certificate_key $arg_b;"
    )
    contexts, _ = load(settings)
    (made,) = contexts.values()
    for name in ("root.pem", "passwords"):
        os.unlink(tmp_path / name)
    context = made.with_certificate(str(tmp_path / "us.pem"), str(tmp_path / "us.key"))
    assert isinstance(made, UpstreamContext) and context.verify_mode == ssl.CERT_REQUIRED
    assert [one["subject"] for one in context.get_ca_certs()] == [((("commonName", "Test Root"),),)]


def test_a_certificate_may_be_written_in_place_of_a_file(load):
    contexts, _ = load("")
    (made,) = contexts.values()
    issued = ROOT.issue("inline")
    assert made.with_certificate(f"data:{issued.chain.decode()}", f"data:{issued.key_pem().decode()}")


def test_only_the_certificates_in_our_own_file_are_shown(load, tmp_path):
    """And not those that are there to verify the upstream."""
    files = f"proxy_ssl_certificate {tmp_path}/them.pem; proxy_ssl_certificate_key {tmp_path}/them.key;"
    contexts, problems = load(f"{files} proxy_ssl_verify on; proxy_ssl_trusted_certificate {tmp_path}/root.pem;")
    assert not problems
    ((_, made),) = contexts.items()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_OPTIONAL
    server.load_verify_locations(tmp_path / "root.pem")
    ROOT.issue("server", ["127.0.0.1"]).write(tmp_path, "server")
    server.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    connection, _ = shake(server, made.context)
    assert len(connection._sslobj.get_unverified_chain()) == 1
