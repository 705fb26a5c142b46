"""The contexts of servers, made from a configuration and tried in memory: no socket, and OpenSSL on both sides."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.authority import Issued, authority
from tests.handshakes import shake, trusting_anybody
from wproxy.config.nginx import parse_nginx
from wproxy.config.registry import SERVER, find_directive
from wproxy.config.resolve import resolve
from wproxy.config.tree import ConfigurationError
from wproxy.lasting import LASTING
from wproxy.tls import contexts as contexts_module
from wproxy.tls.contexts import TlsContexts, make_contexts, ticket_key
from wproxy.tls.openssl import OpenSSL, Refused, find_openssl

BASE = "ssl_certificate site.pem; ssl_certificate_key site.key;"


@pytest.fixture(scope="module")
def root() -> Issued:
    return authority()


@pytest.fixture
def make(tmp_path: Path, root: Issued) -> Callable[..., Any]:
    """Makes the contexts of servers, each by what is in its block."""
    root.issue("site", ["site.test"]).write(tmp_path, "site")
    (tmp_path / "root.pem").write_bytes(root.pem)

    def load(*servers: str, http: str = "", now: Callable[[], float] = float) -> tuple[TlsContexts, list[str], tuple[Any, ...]]:
        blocks = "".join(f"server {{ listen 127.0.0.1:{8000 + index} ssl; {text} }}" for index, text in enumerate(servers))
        text = f"events {{ }} http {{ {http} {blocks} }}"
        configuration = resolve(parse_nginx(text.encode(), "nginx.conf"), f"{tmp_path}/nginx.conf", f"{tmp_path}/", lambda *_: [])
        made, problems = make_contexts(configuration, now)
        return made, [problem.text.replace(str(tmp_path), "DIR") for problem in problems], configuration.servers

    return load


@pytest.fixture
def context(make: Callable[..., Any]) -> Callable[..., ssl.SSLContext]:
    """Makes the context of one server."""

    def of(text: str = "", **more: Any) -> ssl.SSLContext:
        made, problems, (server,) = make(BASE + text, **more)
        assert not problems
        found = made.find(server, False)
        assert found is not None and found.context is not None
        return found.context

    return of


V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def test_servers_with_equal_settings_share_a_context(make):
    made, problems, servers = make("server_name a;", "server_name b;", "server_name c; ssl_session_tickets off;", http=BASE)
    assert not problems
    first, second, third = (made.find(server, False) for server in servers)
    assert first is second and first is not third


def test_http2_is_offered_where_it_is_served(make):
    made, _, servers = make(f"{BASE} http2 on;", BASE)
    row = find_directive("http2", SERVER)
    assert row is not None
    for server, wants in zip(servers, (True, False)):
        assert ("h2" in made.find(server, False).protocols) == (wants and row.effective)


def test_a_server_without_a_certificate_has_none(make):
    made, _, servers = make(BASE, "ssl_reject_handshake on;")
    assert made.find(servers[1], False).rejects and made.find(servers[1], False).context is None


@pytest.mark.parametrize(
    ("words", "spoken"), [("TLSv1.2", [V12]), ("TLSv1.3", [V13]), ("TLSv1.2 TLSv1.3", [V12, V13]), ("TLSv1 TLSv1.3", [V13])]
)
def test_only_the_protocols_of_the_configuration_are_spoken(context, words, spoken):
    server = context(f"ssl_protocols {words};")
    for version in (V12, V13):
        client = trusting_anybody(minimum_version=version, maximum_version=version)
        if version in spoken:
            shake(server, client)
        else:
            with pytest.raises(ssl.SSLError):
                shake(server, client)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_protocols_are_spoken_if_everything_is_allowed(context, version):
    client = trusting_anybody(minimum_version=version, maximum_version=version)
    client.set_ciphers("ALL:@SECLEVEL=0")
    ours, _ = shake(context("ssl_protocols TLSv1 TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;"), client)
    assert ours.version() == version.name.replace("_", ".")
    with pytest.raises(ssl.SSLError):
        shake(context("ssl_protocols TLSv1 TLSv1.1;"), client)


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("groups", ["secp384r1", "X25519:prime256v1", "secp521r1:X448"])
def test_the_first_group_that_both_have_is_used(context, groups, version):
    openssl = find_openssl()
    assert openssl is not None
    ours, _ = shake(context(f"ssl_ecdh_curve {groups};"), trusting_anybody(maximum_version=version))
    assert openssl.group(ours) in groups.split(":")


def test_the_algorithms_of_signatures_are_known_since_openssl_3_5(context, root, tmp_path):
    openssl = find_openssl()
    assert openssl is not None
    client = trusting_anybody()
    client.load_cert_chain(*root.issue("known").write(tmp_path, "client"))
    ours, theirs = shake(context("ssl_verify_client on; ssl_client_certificate root.pem;"), client)
    name = "ecdsa_secp256r1_sha256" if ssl.OPENSSL_VERSION_INFO >= (3, 5) else ""  # as in nginx
    assert [openssl.signature_algorithm(ours, of_peer) for of_peer in (False, True)] == [name, name]
    assert openssl.signature_algorithm(theirs, False) == name


def test_the_clients_order_of_ciphers_counts_unless_the_servers_shall(context):
    both = "ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256;"
    client = trusting_anybody(maximum_version=V12)
    client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
    for more, chosen in (("", "128"), ("ssl_prefer_server_ciphers on;", "256")):
        ours, _ = shake(context(both + more), client)
        assert f"AES{chosen}" in ours.cipher()[0]


def test_ciphers_with_dh_need_its_parameters(context, tmp_path):
    from tests.example_copies import FFDHE2048

    key = rsa.generate_private_key(65537, 2048)
    authority().issue("site", ["site.test"], key=key).write(tmp_path, "site")
    (tmp_path / "dh.pem").write_text(FFDHE2048)
    client = trusting_anybody(maximum_version=V12)
    client.set_ciphers("DHE-RSA-AES256-GCM-SHA384")
    ours, _ = shake(context("ssl_dhparam dh.pem;"), client)
    assert ours.cipher()[0].startswith("DHE-RSA")


def test_commands_of_openssl_are_carried_out(context, make):
    server = context("ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256; ssl_conf_command MinProtocol TLSv1.3;")
    assert shake(server, trusting_anybody())[0].cipher()[0] == "TLS_CHACHA20_POLY1305_SHA256"
    with pytest.raises(ssl.SSLError):
        shake(server, trusting_anybody(maximum_version=V12))
    for command, why in (("Nonsense x", "unknown command"), ("Ciphersuites x", "error:0A0000B9:SSL routines::no cipher match")):
        _, problems, _ = make(f"{BASE} ssl_conf_command {command};")
        name, value = command.split()
        assert problems == [f'SSL_CONF_cmd("{name}", "{value}") failed: {why}']


def test_certificates_may_be_in_the_configuration_itself(make, tmp_path, root):
    issued = root.issue("inline", ["inline.test"])
    pem, key = issued.chain.decode(), issued.key_pem().decode()
    made, problems, (server,) = make(f'ssl_certificate "data:{pem}"; ssl_certificate_key "data:{key}";')
    assert not problems
    _, theirs = shake(made.find(server, False).context, trusting_anybody())
    assert theirs.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(pem)
    assert not [name for name in os.listdir("/proc/self/fd") if "certificate" in os.path.realpath(f"/proc/self/fd/{name}")]


def test_passwords_are_tried_in_turn(make, tmp_path, root):
    root.issue("site", ["site.test"]).write(tmp_path, "site", "right")
    (tmp_path / "passwords").write_text("wrong\nright\n")
    assert make(f"{BASE} ssl_password_file passwords;")[1] == []
    (tmp_path / "passwords").write_text("wrong\n")
    (problem,) = make(f"{BASE} ssl_password_file passwords;")[1]
    assert problem.startswith('cannot load certificate "DIR/site.pem" with the key "DIR/site.key": ')


@pytest.mark.parametrize("key", ["engine:pkcs11:x", "store:file:x"])
def test_keys_in_engines_are_refused(make, key):
    _, problems, _ = make(f"ssl_certificate site.pem; ssl_certificate_key {key};")
    assert problems == [f'cannot load certificate key "{key}": only files and "data:" can be loaded']


# Sessions.


@pytest.mark.parametrize("version", [V12, V13])
def test_a_session_is_resumed_under_contexts_that_are_made_anew(context, version):
    """As after a reload, and in another program after an upgrade that has the same secret."""
    client = trusting_anybody(maximum_version=version)
    _, theirs = shake(context(), client)
    ours, _ = shake(context(), client, theirs.session)
    assert ours.session_reused


@pytest.mark.parametrize("version", [V12, V13])
def test_a_session_is_not_resumed_where_another_trust_holds(context, root, version):
    client = trusting_anybody(maximum_version=version)
    _, theirs = shake(context(), client)
    asking = context("ssl_verify_client on; ssl_client_certificate root.pem;")
    ours, _ = shake(asking, client, theirs.session)
    assert not ours.session_reused


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("size", [48, 80])
def test_files_have_the_keys_of_tickets(context, tmp_path, size, version):
    """The first encrypts, all decrypt; one that the second decrypted is renewed."""
    for name in ("old", "new", "other"):
        (tmp_path / name).write_bytes(os.urandom(size))
    client = trusting_anybody(maximum_version=version)
    _, theirs = shake(context("ssl_session_ticket_key old;"), client)
    ours, renewed = shake(context("ssl_session_ticket_key new; ssl_session_ticket_key old;"), client, theirs.session)
    assert ours.session_reused
    assert shake(context("ssl_session_ticket_key new;"), client, renewed.session)[0].session_reused
    assert not shake(context("ssl_session_ticket_key other;"), client, theirs.session)[0].session_reused
    assert not shake(context("ssl_session_ticket_key new;"), client, theirs.session)[0].session_reused


def test_a_key_of_a_wrong_size_is_refused(make, tmp_path):
    (tmp_path / "short").write_bytes(b"x" * 47)
    assert make(f"{BASE} ssl_session_ticket_key short;")[1] == ['"DIR/short" must be 48 or 80 bytes']


def test_without_tickets_a_session_is_known_to_its_process(context):
    client = trusting_anybody(maximum_version=V12)
    server = context("ssl_session_tickets off; ssl_session_cache shared:one:1m;")
    _, theirs = shake(server, client)
    assert shake(server, client, theirs.session)[0].session_reused
    server = context("ssl_session_tickets off; ssl_session_cache off;")
    _, theirs = shake(server, client)
    assert not shake(server, client, theirs.session)[0].session_reused


def test_a_session_has_its_time(context):
    _, theirs = shake(context("ssl_session_timeout 17m;"), trusting_anybody(maximum_version=V12))
    assert theirs.session.timeout == 7200 and theirs.session.ticket_lifetime_hint == 17 * 60


def test_the_key_of_tickets_depends_on_the_secret_and_on_the_digest():
    assert len(ticket_key(b"a")) == 80
    assert ticket_key(b"a") == ticket_key(b"a") != ticket_key(b"b")
    assert LASTING.fileno >= 0, "it outlives an upgrade"


def test_the_secret_is_renewed_at_a_load_once_a_day(context):
    client = trusting_anybody()
    contexts_module.renew_secret(1_000_000.0)
    _, theirs = shake(context(), client)
    contexts_module.renew_secret(1_000_000.0 + 86_399)
    assert shake(context(), client, theirs.session)[0].session_reused
    contexts_module.renew_secret(1_000_000.0 + 86_400)
    assert not shake(context(), client, theirs.session)[0].session_reused


@pytest.mark.parametrize("version", [V12, V13])
def test_with_a_shared_cache_keys_of_tickets_change_with_each_timeout_and_the_last_one_is_still_good(
    context, monkeypatch, version
):
    client = trusting_anybody(maximum_version=version)
    now = 1_000_000.0

    def made() -> ssl.SSLContext:
        return context("ssl_session_cache shared:one:1m; ssl_session_timeout 100s;", now=lambda: now)

    server = made()
    _, first = shake(server, client)
    now += 99
    assert shake(server, client, first.session)[0].session_reused
    now += 1
    _, second = shake(server, client)
    ours, renewed = shake(made(), client, first.session)
    assert ours.session_reused, "a worker of the next generation, in the next turn"
    now += 100
    assert not shake(made(), client, first.session)[0].session_reused
    for session in (second.session, renewed.session):
        assert shake(made(), client, session)[0].session_reused


# Clients' certificates.


@pytest.mark.parametrize("version", [V12, V13])
def test_no_certificate_of_a_client_fails_the_handshake(context, root, tmp_path, version):
    openssl = find_openssl()
    assert openssl is not None
    stranger = authority("Other").issue("stranger")
    late = root.issue("late", days=-1, begins=-5)
    known = root.issue("known")
    server = context("ssl_verify_client on; ssl_client_certificate root.pem;")
    for issued, code in ((known, 0), (late, 10), (stranger, 20), (None, 0)):
        client = trusting_anybody(maximum_version=version)
        if issued is not None:
            client.load_cert_chain(*issued.write(tmp_path, "client"))
        ours, _ = shake(server, client)
        assert openssl.verify_result(ours) in (code, 21 if code == 20 else code)
        assert bool(ours.getpeercert(binary_form=True)) == (issued is not None)


def test_only_the_certificates_in_the_servers_own_file_are_shown(context):
    """As in nginx: not the authority for clients, that OpenSSL would add by itself since it has issued the server's, too."""
    _, theirs = shake(context("ssl_verify_client on; ssl_client_certificate root.pem;"), trusting_anybody())
    assert len(theirs._sslobj.get_unverified_chain()) == 1


def test_revoked_clients_are_known(context, root, tmp_path):
    openssl = find_openssl()
    assert openssl is not None
    revoked, known = root.issue("revoked"), root.issue("known")
    (tmp_path / "list.pem").write_bytes(root.revoke(revoked))
    server = context("ssl_verify_client optional; ssl_client_certificate root.pem; ssl_crl list.pem;")
    for issued, code in ((revoked, 23), (known, 0)):
        client = trusting_anybody()
        client.load_cert_chain(*issued.write(tmp_path, "client"))
        assert openssl.verify_result(shake(server, client)[0]) == code


def test_a_chain_may_be_as_long_as_its_depth(context, root, tmp_path):
    openssl = find_openssl()
    assert openssl is not None
    between = root.issue("between", is_authority=True)
    leaf = between.issue("leaf")
    for depth, code in ((0, 22), (1, 0)):
        server = context(f"ssl_verify_client optional; ssl_client_certificate root.pem; ssl_verify_depth {depth};")
        client = trusting_anybody()
        client.load_cert_chain(*leaf.write(tmp_path, "leaf"))
        found = openssl.verify_result(shake(server, client)[0])
        assert (found == 0) == (code == 0), (depth, found)


# Records and responses.


def test_records_are_as_short_as_they_shall_be(context):
    for size, longest in (("1k", 1024), ("16k", 16384), ("1m", 16384)):
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = context(f"ssl_buffer_size {size};").wrap_bio(to_server, to_client, server_side=True)
        theirs = trusting_anybody().wrap_bio(to_client, to_server)
        for _ in range(3):
            for end in (theirs, ours):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        ours.write(b"y" * 40_000)
        assert len(theirs.read(65536)) == longest


def test_a_response_is_stapled(make, tmp_path):
    (tmp_path / "response.der").write_bytes(b"\x30\x03\x0a\x01\x06")
    made, problems, (server,) = make(f"{BASE} ssl_stapling on; ssl_stapling_file response.der;")
    assert not problems and made.find(server, False).context is not None
    assert make(f"{BASE} ssl_stapling on; ssl_stapling_file missing;")[1] == [
        'open() "DIR/missing" failed (2: No such file or directory)'
    ]


def test_fetched_responses_are_inquired_about_or_told_to_be_ignored(make, root, tmp_path):
    stapled = f"{BASE} ssl_stapling on; ssl_trusted_certificate root.pem;"
    made, problems, (server,) = make(f"{stapled} ssl_stapling_responder http://ocsp.test/;")
    found = made.find(server, False)
    assert not problems and not made.warnings and found is not None
    assert [(each.name, each.responder.host) for each in found.inquiries] == [(f"{tmp_path}/site.pem", "ocsp.test")]
    for text, reason in (
        (stapled, 'no OCSP responder URL in the certificate "DIR/site.pem"'),
        (f"{BASE} ssl_stapling on;", 'issuer certificate not found for certificate "DIR/site.pem"'),
        (
            f"{stapled} ssl_stapling_responder ftp://x/;",
            'invalid URL prefix in OCSP responder "ftp://x/" in the certificate "DIR/site.pem"',
        ),
        (
            "ssl_certificate $ssl_server_name.pem; ssl_certificate_key site.key; ssl_stapling on;",
            "the name of a certificate has variables",
        ),
    ):
        made, problems, (server,) = make(text)
        assert not problems and not made.find(server, False).inquiries
        assert [warning.text.replace(str(tmp_path), "DIR") for warning in made.warnings] == [f'"ssl_stapling" ignored, {reason}']


# Where OpenSSL's own calls cannot be made.


def test_without_openssls_own_calls_the_rest_works(context, monkeypatch, tmp_path, root):
    monkeypatch.setattr(contexts_module, "find_openssl", lambda: None)
    server = context("ssl_verify_client optional; ssl_client_certificate root.pem; ssl_ecdh_curve prime256v1:X25519;")
    shake(server, trusting_anybody())
    stranger = trusting_anybody(maximum_version=V12)
    stranger.load_cert_chain(*authority("Other").issue("stranger").write(tmp_path, "stranger"))
    with pytest.raises(ssl.SSLError):
        shake(server, stranger)


def test_without_openssls_own_calls_it_is_told_what_is_lacking(make, monkeypatch, tmp_path):
    monkeypatch.setattr(contexts_module, "find_openssl", lambda: None)
    (tmp_path / "key").write_bytes(b"x" * 80)
    made, problems, _ = make(
        f"{BASE} ssl_session_timeout 1h; ssl_session_ticket_key key; ssl_conf_command Options -SessionTicket;"
    )
    assert [warning.text.split(" ")[0] for warning in made.warnings] == ['"ssl_session_timeout"', '"ssl_session_ticket_key"']
    assert all(warning.position for warning in made.warnings)
    why = "cannot be carried out with this Python, which does not let us call its OpenSSL"
    assert problems == [f'"ssl_conf_command" {why}']


def test_the_library_is_not_used_where_its_pointers_are_elsewhere(monkeypatch):
    from wproxy.tls import openssl

    assert find_openssl() is not None
    monkeypatch.setattr(openssl, "context_address", lambda context: id(context))
    library = find_openssl()
    assert library is not None
    monkeypatch.setattr(library, "_library", Misplaced(), raising=True)
    assert not library.is_sane()


class Misplaced:
    """A library that reads other options than Python does."""

    def SSL_CTX_get_options(self, pointer: int) -> int:
        return 1

    SSL_get_options = SSL_CTX_get_options


def test_what_openssl_refuses_is_told():
    openssl = find_openssl()
    assert isinstance(openssl, OpenSSL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(Refused):
        openssl.set_groups(context, "nonsense")
    with pytest.raises(Refused):
        openssl.announce_authorities(context, "/missing")


def test_stapling_and_compression_of_certificates_exclude_each_other(make):
    """As in the nginx of today."""
    with pytest.raises(ConfigurationError, match='"ssl_stapling" is incompatible with "ssl_certificate_compression"'):
        make(f"{BASE} ssl_stapling on; ssl_stapling_file x; ssl_certificate_compression on;")


ASKING = f"{BASE} ssl_client_certificate root.pem; ssl_verify_client on; ssl_ocsp on;"


def test_the_responder_for_clients_is_read_at_load_and_its_answers_have_memory_of_all_workers(make):
    made, problems, (server,) = make(f"{ASKING} ssl_ocsp_responder http://ocsp.test:81/x; ssl_ocsp_cache shared:answers:64k;")
    found = made.find(server, False)
    assert not problems and found.asks_about_clients and found.statuses.entries > 1000
    assert (found.responder.host, found.responder.address.port, found.responder.path) == ("ocsp.test:81", 81, "/x")
    again, _, (server,) = make(f"{ASKING} ssl_ocsp_cache shared:answers:64k;")
    assert again.find(server, False).statuses is found.statuses and again.find(server, False).responder is None
    assert not make(f"{BASE} ssl_ocsp on; ssl_ocsp_responder ftp://x;")[1]  # nobody is asked for a certificate


def test_a_responder_that_cannot_be_asked_is_told_at_load(make):
    assert make(f"{ASKING} ssl_ocsp_responder ftp://x;")[1] == [
        'invalid URL prefix in OCSP responder "ftp://x" in "ssl_ocsp_responder"'
    ]
    with pytest.raises(ConfigurationError, match='"ssl_ocsp" is incompatible with "ssl_verify_client optional_no_ca"'):
        make(f"{ASKING} ssl_verify_client optional_no_ca;".replace("ssl_verify_client on;", ""))


def test_sessions_of_clients_that_are_asked_about_are_not_resumed(make):
    """A session has lost the certificates between the client's and the root."""
    (server,) = (found := make(ASKING))[2]
    context = found[0].find(server, False).context
    assert context.num_tickets == 0 and context.options & ssl.OP_NO_TICKET
