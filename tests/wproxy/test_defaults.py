"""The paths of a configuration that does not set them."""

import pytest

from wproxy.config.load import load_text
from wproxy.defaults import apply_defaults
from wproxy.identity import NGINX, WPROXY

PLAIN = b"events {} http { server { location /a { location /a/b { if ($arg_x) { return 200; } } } } }"


@pytest.fixture
def configured():
    """Makes a configuration of a text, with the defaults of an identity."""

    def make(text, identity, error_log=None):
        configuration = load_text(text, "nginx.conf", "/srv", lambda host, port: [])
        assert apply_defaults(configuration, identity, error_log) is configuration
        return configuration

    return make


def access_logs(configuration):
    return {log.path for server in configuration.servers for location in server.each_location() for log in location.access_log}


def test_under_the_name_nginx_they_are_those_of_its_package(configured):
    configuration = configured(PLAIN, NGINX)
    assert configuration.pid == "/run/nginx.pid"
    assert configuration.error_log_targets == [("/var/log/nginx/error.log", "error")]
    assert len(list(configuration.servers[0].each_location())) == 4
    assert access_logs(configuration) == {"/var/log/nginx/access.log"}
    assert configuration.worker_processes == 1


def test_under_our_own_they_start_at_the_prefix(configured):
    configuration = configured(PLAIN, WPROXY)
    assert configuration.path(configuration.pid) == "/srv/run/wproxy.pid"
    assert configuration.error_log_targets == [("/srv/logs/error.log", "error")]
    assert access_logs(configuration) == {"logs/access.log"}


def test_what_is_written_is_left_alone(configured):
    text = b"pid a.pid; error_log e.log warn; events {} http { access_log h.log; server { location /a { access_log off; } } }"
    configuration = configured(text, NGINX, "other.log")
    assert configuration.pid == "a.pid"
    assert configuration.error_log_targets == [("/srv/e.log", "warn")]
    assert access_logs(configuration) == {"h.log", "off"}


@pytest.mark.parametrize(("given", "target"), [("e.log", "/srv/e.log"), ("/e.log", "/e.log"), ("stderr", "stderr")])
@pytest.mark.parametrize("identity", [NGINX, WPROXY])
def test_the_log_of_the_command_line_is_the_default(configured, identity, given, target):
    assert configured(PLAIN, identity, given).error_log_targets == [(target, "error")]
