"""Both proxies are told the same, each in its notation."""

from __future__ import annotations

import re
import tomllib

import pytest

from bench.configurations import SMALL_BODY, nginx_backend, nginx_proxy, wproxy_proxy


def in_nginx_words(value: object) -> str:
    """A value of TOML as it stands in nginx.conf; a list in a list is one occurrence of several words."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        assert len(value) == 1
        return " ".join(map(str, value[0]))
    return str(value)


def test_wproxy_toml_says_what_nginx_conf_says():
    nginx = nginx_proxy("/tmp/x", 8080, 3000, is_root=False)
    tree = tomllib.loads(wproxy_proxy("/tmp/x", 8080, 3000, is_root=False))
    locations = tree["http"]["server"][0]["location"]
    blocks = dict(re.findall(r"location (\S+) \{\n(.*?)\n        \}", nginx, re.DOTALL))
    assert blocks.keys() == locations.keys()
    for path, block in blocks.items():
        location = dict(locations[path])
        headers = dict(re.findall(r"proxy_set_header (\S+) (\S+);", block))
        assert {name: value.strip('"') for name, value in headers.items()} == location.pop("proxy_set_header", {})
        others = dict(re.findall(r"^ *((?!proxy_set_header)\w+) ([^;\n]+);", block, re.MULTILINE))
        assert others == {name: in_nginx_words(value) for name, value in location.items()}
    assert tree["http"]["upstream"]["backend"] == {"server": ["127.0.0.1:3000"], "keepalive": 64}
    assert "server 127.0.0.1:3000;" in nginx and "keepalive 64;" in nginx
    assert tree["http"]["access_log"] == "off" and "access_log off;" in nginx
    assert tree["http"]["server"][0]["listen"] == "127.0.0.1:8080" and "listen 127.0.0.1:8080;" in nginx
    assert tree["worker_processes"] == 1 and "worker_processes 1;" in nginx


@pytest.mark.parametrize(("listen", "parameters"), [("http", ""), ("tls", " ssl"), ("h2c", " http2"), ("h2", " ssl http2")])
def test_both_listen_alike(listen, parameters):
    nginx = nginx_proxy("/tmp/x", 8080, 3000, is_root=False, listen=listen)
    server = tomllib.loads(wproxy_proxy("/tmp/x", 8080, 3000, is_root=False, listen=listen))["http"]["server"][0]
    assert f"listen 127.0.0.1:8080{parameters};" in nginx
    expected = ["127.0.0.1:8080", *parameters.split()]
    assert server["listen"] == ([expected] if parameters else expected[0])
    names = ("ssl_certificate", "ssl_certificate_key", "keepalive_requests")
    said = dict(re.findall(rf"({'|'.join(names)}) (\S+);", nginx.partition("server {")[2]))
    assert said == {name: str(server[name]) for name in names if name in server}
    assert ("ssl_certificate" in said) is ("ssl" in parameters)
    assert said.get("ssl_certificate", "/tmp/x/certificate.pem") == "/tmp/x/certificate.pem"


@pytest.mark.parametrize("write", [nginx_proxy, wproxy_proxy])
def test_a_user_is_named_to_root_only(write):
    assert re.search(r'^user (= "root"|root;)$', write("/tmp/x", 1, 2, is_root=True), re.MULTILINE)
    assert "user" not in write("/tmp/x", 1, 2, is_root=False)


def test_nginx_keeps_its_files_in_the_folder():
    for text in (nginx_proxy("/tmp/x", 1, 2, is_root=False), nginx_backend("/tmp/x", 1, is_root=False)):
        assert set(re.findall(r"(?:pid|_temp_path|error_log) (/[^/]+/[^/]+)/", text)) == {"/tmp/x"}
        assert text.count("{") == text.count("}")


def test_the_small_body_has_forty_bytes():
    assert len(SMALL_BODY) == 40
    assert SMALL_BODY in nginx_backend("/tmp/x", 1, is_root=False)
