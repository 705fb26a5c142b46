"""What `-v`, `-V` and `-h` tell."""

import re

import pytest

from wproxy import about
from wproxy.config.registry import HTTP, REGISTRY, Directive
from wproxy.identity import NGINX, WPROXY
from wproxy.version import VERSION


@pytest.fixture
def with_directive(monkeypatch):
    """Makes a directive of that name known, and effective or not."""
    about.is_effective("server")  # fills the registry

    def enter(name, effective=True):
        row = Directive(str, HTTP, (1, 1), None, "scalar", "a test's", 0, False, effective)
        monkeypatch.setitem(REGISTRY, name, [row])

    return enter


def has(module):
    """Whether `-V` promises a module: by `--with-`, or by not saying `--without-`."""
    words = re.search("configure arguments: (.*)", about.build_text(NGINX))[1].split()
    return f"--with-{module}" in words if f"--with-{module}" in about.OPTIONAL else f"--without-{module}" not in words


def test_the_version_is_one_line():
    assert about.version_text(NGINX) == "nginx version: nginx/1.31.5\n"
    assert about.version_text(WPROXY) == f"wproxy version: wproxy/{VERSION}\n"


def test_our_own_version_stands_beside_nginx_s():
    assert about.build_text(NGINX).startswith(f"wproxy {VERSION}\n")


@pytest.mark.parametrize("module", sorted(word.removeprefix("--with-") for word in about.OPTIONAL) + sorted(about.USUAL))
def test_a_module_is_named_exactly_when_its_directive_does_something(with_directive, module):
    directive = about.OPTIONAL.get(f"--with-{module}") or about.USUAL[module]
    with_directive(directive, effective=False)
    assert not has(module)
    with_directive(directive)
    assert has(module)


def test_the_proxy_is_there_and_what_is_merely_accepted_is_not():
    assert has("http_proxy_module")
    assert has("http_rewrite_module")
    assert has("debug")


def test_what_is_absent_occurs_nowhere_but_after_without():
    text = about.build_text(NGINX)
    left = re.sub(r"--without-\S+", "", text)
    for word, directive in about.OPTIONAL.items():
        if not about.is_effective(directive):
            assert word.removeprefix("--with-") not in left.replace("--with-stream_", "")
    for word, directive in about.USUAL.items():
        assert word not in left
        assert about.is_effective(directive) != (f"--without-{word}" in text)


def test_the_tls_library_is_named_with_the_module_that_uses_it(with_directive):
    with_directive("ssl_certificate", effective=False)
    assert "TLS" not in about.build_text(NGINX) and "OpenSSL" not in about.build_text(NGINX)
    with_directive("ssl_certificate")
    assert re.search(r"^built with OpenSSL 3\.\d+\.\d+ .*\nTLS SNI support enabled\nconfigure", about.build_text(NGINX), re.M)
    assert " --with-http_ssl_module" in about.build_text(NGINX)


def test_the_usage_is_nginx_s_with_the_places_of_the_name():
    text = about.usage_text(NGINX)
    assert text.startswith(
        "Usage: nginx [-?hvVtTq] [-s signal] [-p prefix]\n"
        "             [-e filename] [-c filename] [-g directives]\n\nOptions:\n  -?,-h         : this help\n"
    )
    assert "  -c filename   : set configuration file (default: /etc/nginx/nginx.conf)\n" in text
    assert text.endswith("out of configuration file\n\n")
    assert "wproxy --help" in about.usage_text(WPROXY)
