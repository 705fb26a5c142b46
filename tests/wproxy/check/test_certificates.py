"""Rules about TLS, where one example cannot show all cases."""

from __future__ import annotations

import argparse
import time

import pytest
from texts import findings, reasons, rules_in, whole

from tests.authority import authority, self_signed
from wproxy.check.arguments import declare
from wproxy.check.command import run_check


def server(certificate: str, names: str = "example.com", more: str = "", listen: str = "8443 ssl") -> str:
    return f"server {{ listen {listen}; server_name {names}; ssl_certificate {certificate}; ssl_certificate_key k; {more} }}"


def found(certificate: str, names: str = "example.com", listen: str = "8443 ssl") -> list[str]:
    return rules_in(whole(server(certificate, names, listen=listen), "http"))


@pytest.mark.parametrize(
    ("certificate", "rules"),
    [
        ("example.pem", []),
        ("self.pem", []),
        ("young.pem", []),
        ("missing.pem", []),  # told by -t
        ("broken.pem", []),
        ("data:$arg_c", []),
        ("expired.pem", ["certificate-expired"]),
        ("soon.pem", ["certificate-expired"]),
        ("tomorrow.pem", ["certificate-expired"]),
        ("disordered.pem", ["certificate-chain-order"]),
        ("foreign.pem", ["certificate-chain-order"]),
        ("alone.pem", ["certificate-chain-incomplete"]),
        ("with-root.pem", ["certificate-root-sent"]),
        ("weak.pem", ["certificate-weak"]),
    ],
)
def test_each_file_has_its_own_finding(certificate, rules):
    assert found(certificate) == rules


def test_an_expired_certificate_is_an_error_and_one_that_will_expire_a_warning():
    assert [one.severity for one in findings("certificate-expired", server("expired.pem"), "http")] == ["error"]
    assert [one.severity for one in findings("certificate-expired", server("soon.pem"), "http")] == ["warning"]
    (reason,) = reasons("certificate-expired", server("soon.pem"), "http")
    assert reason == 'the certificate "example.com" expires in 5 days'
    (reason,) = reasons("certificate-expired", server("expired.pem"), "http")
    assert reason == 'the certificate "example.com" has expired 3 days ago'


@pytest.mark.parametrize(
    ("certificate", "names", "missing"),
    [
        ("example.pem", "www.example.com EXAMPLE.com", ""),
        ("example.pem", "shop.example.com example.com api.example.com", "shop.example.com, api.example.com are not"),
        ("example.pem", '_ "" ~^x$ www.example.*', ""),
        ("example.pem", ".example.com", ".example.com is not"),
        ("wild.pem", "www.example.com *.example.com 192.0.2.7", ""),
        ("wild.pem", "example.com", "example.com is not"),
        ("wild.pem", "a.b.example.com", "a.b.example.com is not"),
        ("wild.pem", "192.0.2.8", "192.0.2.8 is not"),
    ],
)
def test_names_that_no_certificate_has_are_told(certificate, names, missing):
    told = reasons("certificate-name", server(certificate, names), "http")
    assert len(told) == bool(missing) and all(one.startswith(missing) for one in told)


def test_names_matter_only_with_tls():
    assert found("example.pem", "shop.example", "8080") == []


def test_a_name_has_to_be_in_the_certificates_of_both_kinds_of_key():
    both = server("example.pem", "example.com", "ssl_certificate wild.pem; ssl_certificate_key k;")
    (reason,) = reasons("certificate-name", both, "http")
    assert reason.startswith("example.com is not")


def test_a_certificate_is_inherited_from_http():
    text = "ssl_certificate example.pem; ssl_certificate_key k; server { listen 8443 ssl; server_name other.example; }"
    assert len(reasons("certificate-name", text, "http")) == 1


@pytest.mark.parametrize(
    ("ciphers", "is_weak"),
    [
        ("HIGH:!aNULL:!MD5", False),
        ("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384", False),
        ("ALL:!aNULL:!EXPORT", False),
        ("ALL", True),
        ("DEFAULT:+3DES", True),
        ("DES-CBC3-SHA", True),
        ("HIGH:!RC4", False),
    ],
)
def test_lists_of_ciphers(ciphers, is_weak):
    assert bool(reasons("weak-ciphers", f"ssl_ciphers {ciphers};")) == is_weak


def test_hsts_that_is_lost_is_told_once_and_other_fields_by_their_own_rule():
    text = (
        "add_header Strict-Transport-Security max-age=1 always; add_header X-Frame-Options DENY;"
        "location / { add_header X-Frame-Options DENY; location /a { add_header X-A 1; } }"
    )
    assert len(reasons("hsts-lost", text)) == 1
    (reason,) = reasons("add-header-lost", text)
    assert "X-Frame-Options" in reason and "Strict" not in reason
    assert reasons("hsts-lost", text.replace("location / {", "location / { add_header_inherit merge;")) == []


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:8443", "https://localhost", "https://unix:/run/a", "http://192.0.2.7", "https://$x"]
)
def test_upstreams_that_need_not_be_verified(url):
    assert reasons("upstream-not-verified", f"resolver 127.0.0.1; set $x a; location / {{ proxy_pass {url}; }}") == []


@pytest.mark.parametrize(("module", "scheme"), [("proxy", "https"), ("grpc", "grpcs"), ("uwsgi", "suwsgi")])
def test_upstreams_of_every_module_are_looked_at_by_its_own_words(module, scheme):
    named = f"location / {{{{ {module}_pass {scheme}://{{}}; {{}} }}}}"
    verified = f"{module}_ssl_verify on; {module}_ssl_trusted_certificate a.pem;"
    for rule, host, amended in (
        ("upstream-not-verified", "192.0.2.7", verified),
        ("upstream-without-sni", "api.example.com:443", f"{module}_ssl_server_name on;"),
    ):
        assert len(reasons(rule, named.format(host, ""))) == 1
        assert len(reasons(rule, named.format(host, "scgi_buffering off;"))) == 1
        assert reasons(rule, named.format(host, amended)) == []
    group = "upstream app {{ server 192.0.2.7:443; }} server {{ listen 8080; {} }}"
    by_group = group.format(named.format("app", verified))
    assert len(reasons("upstream-verified-by-group", by_group, "http")) == 1
    by_name = group.format(named.format("app", f"{verified} {module}_ssl_name a.example.com;"))
    assert reasons("upstream-verified-by-group", by_name, "http") == []


@pytest.fixture
def check(tmp_path, capfdbinary):
    """Runs `wproxy check` on a text; gives what was printed."""

    def run(text: str, *options: str) -> str:
        file = tmp_path / "nginx.conf"
        file.write_text(text)
        parser = argparse.ArgumentParser()
        declare(parser)
        # The prefix is another directory: like nginx we look for certificates beside the file.
        run_check(parser.parse_args([str(file), *options]), str(file), "/", lambda host, port: [], None, time.time())
        return capfdbinary.readouterr().out.decode()

    return run


def test_certificates_are_read_beside_the_file_unless_offline(check, tmp_path):
    authority().issue("example.com", ["example.com"], days=-1).write(tmp_path / "certs", "old")
    text = whole(server("certs/old.pem"), "http")
    assert "[certificate-expired]" in check(text)
    assert "[certificate-expired]" not in check(text, "--offline")


def test_the_same_certificate_in_two_servers_is_told_at_both(check, tmp_path):
    self_signed("example.com", days=-1).write(tmp_path, "old")
    text = whole(server("old.pem") + "\n" + server("old.pem", "www.example.com"), "http")
    assert check(text).count("[certificate-expired]") == 2
