"""From tree to model: inheritance, links between names, and everything that can be wrong, found in one run.

Texts are wproxy.toml where it can say what is tested; what only an nginx.conf could say (a directive twice in a block) is a
tree made by hand.
"""

from __future__ import annotations

import textwrap
import time

import pytest
from tests.wproxy.maps.map_reading import request

from wproxy.address import Address
from wproxy.config.load import load_text
from wproxy.config.model import Configuration, Location, Server
from wproxy.config.resolve import resolve
from wproxy.config.tree import ConfigurationError, Node, Position
from wproxy.directives.core import MainDirectives
from wproxy.http import Request
from wproxy.matching import LocationMatcher

FILE = "wproxy.toml"
HOSTS = {"app.internal": ["192.0.2.80", "192.0.2.81"], "db.internal": ["2001:db8::1"]}


def look_up(host: str, port: int) -> list[Address]:
    """A resolver that knows HOSTS."""
    if host not in HOSTS:
        raise OSError("Name or service not known")
    return [Address(ip, port) for ip in HOSTS[host]]


def load(text: str) -> Configuration:
    return load_text(textwrap.dedent(text).encode(), FILE, "/srv/", look_up)


def problems(text: str) -> list[str]:
    """Everything that is wrong with a text, as a person sees it."""
    with pytest.raises(ConfigurationError) as error:
        load(text)
    return [str(problem) for problem in error.value.problems]


def at(text: str, fragment: str, occurrence: int = 1) -> str:
    """`wproxy.toml:LINE:COLUMN` of a fragment of the text."""
    text = textwrap.dedent(text)
    offset = -1
    for _ in range(occurrence):
        offset = text.index(fragment, offset + 1)
    return f"{FILE}:{text.count(chr(10), 0, offset) + 1}:{offset - text.rfind(chr(10), 0, offset)}"


def node(name: str, *arguments: str, line: int = 1, inside: list[Node] | None = None) -> Node:
    return Node(name, arguments, Position("nginx.conf", line), inside)


def resolve_nodes(*children: Node) -> Configuration:
    events = [] if any(child.name == "events" for child in children) else [node("events", line=0, inside=[])]
    return resolve(node("", inside=[*events, *children]), "nginx.conf", "/srv/", look_up)


def problems_of(*children: Node) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        resolve_nodes(*children)
    return [str(problem) for problem in error.value.problems]


def only_server(configuration: Configuration) -> Server:
    (server,) = configuration.servers
    return server


def location_at(configuration: Configuration, path: str) -> Location:
    return find(only_server(configuration).locations, path)


def find(matcher: LocationMatcher[Location], path: str, asked: Request | None = None) -> Location:
    return matcher.find(path.encode(), asked or request())


# The whole


def test_the_smallest_configuration_is_a_server_with_every_default():
    configuration = load("[[http.server]]")
    assert (configuration.worker_processes, configuration.daemon, configuration.worker_connections) == (1, True, 1024)
    assert configuration.error_log == MainDirectives.error_log
    assert (configuration.file, configuration.prefix) == (FILE, "/srv/")
    assert configuration.upstreams == ()
    assert list(configuration.log_formats) == ["combined"]
    (listener,) = configuration.listeners
    assert listener.address == Address("0.0.0.0", 80)
    assert listener.servers.default is only_server(configuration)


def test_paths_start_at_the_prefix():
    configuration = load("[[http.server]]")
    assert configuration.path("logs/a") == "/srv/logs/a"
    assert configuration.path("/var/log/a") == "/var/log/a"


@pytest.mark.parametrize("text", ["", "daemon = false", "[events]"])
def test_without_http_there_is_nothing_to_do(text):
    assert problems(text) == ['no "http" section in configuration']


def test_a_value_tells_where_it_was_set():
    text = """
        daemon = false
        [http]
        proxy_read_timeout = "1s"
        [[http.server]]
        [http.server.location."/"]
        proxy_pass = "http://127.0.0.1"
    """
    configuration = load(text)
    location = location_at(configuration, "/")
    assert configuration.origin("daemon") == at(text, "daemon")
    assert configuration.origin("pid") == "default"
    assert location.origin("proxy_read_timeout") == at(text, "proxy_read_timeout")
    assert location.origin("proxy_pass") == at(text, "proxy_pass")
    assert location.origin("send_timeout") == "default"


# Inheritance

SCALARS = """
    [http]
    {http}
    [[http.server]]
    {server}
    [http.server.location."/"]
    {location}
"""


@pytest.mark.parametrize(
    ("http", "server", "location", "seen"),
    [
        (None, None, None, (60, 60)),
        (1, None, None, (1, 1)),
        (None, 2, None, (2, 2)),
        (None, None, 3, (60, 3)),
        (1, 2, None, (2, 2)),
        (1, None, 3, (1, 3)),
        (None, 2, 3, (2, 3)),
        (1, 2, 3, (2, 3)),
        (1, 2, 0, (2, 0)),
        (5, 0, None, (0, 0)),
    ],
)
def test_a_value_is_seen_inside_until_it_is_set_again(http, server, location, seen):
    """A zero is a value too."""
    set_to = {"http": http, "server": server, "location": location}
    lines = {block: "" if value is None else f"send_timeout = {value}" for block, value in set_to.items()}
    configuration = load(SCALARS.format(**lines))
    found = only_server(configuration), location_at(configuration, "/")
    assert tuple(block.send_timeout for block in found) == seen
    assert only_server(configuration).locations.fallback.send_timeout == seen[0]


@pytest.mark.parametrize(
    ("http", "server", "location", "seen"),
    [
        ([], [], [], []),
        (["A", "B"], [], [], ["A", "B"]),
        (["A", "B"], ["C"], [], ["C"]),
        (["A", "B"], [], ["C"], ["C"]),
        (["A"], ["B"], ["C", "D"], ["C", "D"]),
        ([], [], ["C"], ["C"]),
    ],
)
def test_a_list_is_replaced_as_a_whole(http, server, location, seen):
    """`proxy_set_header C` in a location drops all that http had (routing.md §1.4)."""
    lines = {
        block: f"proxy_set_header = {{ {', '.join(f'{name} = {block!r}' for name in names)} }}" if names else ""
        for block, names in {"http": http, "server": server, "location": location}.items()
    }
    fields = location_at(load(SCALARS.format(**lines)), "/").proxy_set_header
    assert [name.decode() for name, _ in fields] == seen


def test_siblings_inherit_from_their_parent_not_from_each_other():
    configuration = load("""
        [http]
        proxy_hide_header = "A"
        [[http.server]]
        server_name = "one"
        send_timeout = 1
        [http.server.location]
        "/a/" = { proxy_hide_header = "B", proxy_read_timeout = 2 }
        "/b/" = {}
        [[http.server]]
        server_name = "two"
    """)
    one, two = configuration.servers
    a, b = find(one.locations, "/a/"), find(one.locations, "/b/")
    assert (a.proxy_hide_header, b.proxy_hide_header) == (("B",), ("A",))
    assert (a.proxy_read_timeout, b.proxy_read_timeout) == (2, 60)
    assert (one.send_timeout, two.send_timeout) == (1, 60)


def test_some_directives_are_for_their_own_block_only():
    configuration = load("""
        [[http.server]]
        return = 404
        try_files = ["/a", "/b"]
        [http.server.location."/"]
        proxy_pass = "http://127.0.0.1"
    """)
    server = only_server(configuration)
    fallback, inner = server.locations.fallback, location_at(configuration, "/")
    assert [step.status for step in server.steps] == [404]
    assert fallback.steps == inner.steps == ()
    assert fallback.try_files and inner.try_files is None
    assert fallback.proxy_pass is None and fallback.upstream is None


def test_an_access_log_replaces_those_outside():
    configuration = load("""
        [http]
        access_log = ["a.log", "b.log"]
        [[http.server]]
        [http.server.location]
        "/quiet/" = { access_log = "off" }
        "/loud/" = {}
    """)
    assert [log.path for log in location_at(configuration, "/quiet/").access_log] == ["off"]
    assert [log.path for log in location_at(configuration, "/loud/").access_log] == ["a.log", "b.log"]


def test_a_server_without_locations_is_a_location_itself():
    configuration = load("[[http.server]]\nsend_timeout = 7\n")
    fallback = location_at(configuration, "/anything")
    assert (fallback.modifier, fallback.pattern, fallback.send_timeout) == ("server", "", 7)
    assert fallback.server is only_server(configuration)


# Directives that may not be


def inside_http(*children: Node) -> Node:
    return node("http", inside=list(children))


def inside_location(*children: Node) -> Node:
    return inside_http(node("server", inside=[node("location", "/", inside=list(children))]))


@pytest.mark.parametrize(
    ("tree", "problem"),
    [
        ([node("daemon", "on"), node("daemon", "off", line=2), inside_http()], '"daemon" directive is duplicate in nginx.conf:2'),
        ([inside_http(), inside_http()], '"http" directive is duplicate in nginx.conf:1'),
        (
            [node("events", inside=[]), node("events", line=3, inside=[]), inside_http()],
            '"events" directive is duplicate in nginx.conf:3',
        ),
        (
            [inside_location(node("proxy_pass", "http://127.0.0.1"), node("proxy_pass", "http://127.0.0.1", line=4))],
            '"proxy_pass" directive is duplicate in nginx.conf:4',
        ),
        (
            [inside_location(node("send_timeout", "1"), node("send_timeout", "1", line=5))],
            '"send_timeout" directive is duplicate in nginx.conf:5',
        ),
    ],
)
def test_what_may_stand_once_stands_once(tree, problem):
    assert problems_of(*tree) == [problem]


def test_what_gathers_may_stand_as_often_as_it_likes():
    configuration = resolve_nodes(
        inside_location(
            node("proxy_set_header", "A", "1"), node("proxy_set_header", "B", "2"), node("proxy_set_header", "A", "3")
        )
    )
    assert [name for name, _ in location_at(configuration, "/").proxy_set_header] == [b"A", b"B", b"A"]


def test_the_same_value_in_two_blocks_is_no_duplicate():
    load(SCALARS.format(http="send_timeout = 1", server="send_timeout = 1", location="send_timeout = 1"))


@pytest.mark.parametrize(
    ("text", "fragment", "problem"),
    [
        # wrong context
        ("listen = 80\n[http]", "listen", '"listen" directive is not allowed here'),
        ("[http]\nproxy_pass = 'http://a'", "proxy_pass", '"proxy_pass" directive is not allowed here'),
        ("[http]\ndaemon = true", "daemon", '"daemon" directive is not allowed here'),
        ("[[http.server]]\nmax_headers = 5\n[http.server.location.'/']\nlisten = 80", "listen", '"listen" directive is not allowed here'),
        ("max_headers = 5\n[http]", "max_headers", '"max_headers" directive is not allowed here'),
        ("[events]\nsend_timeout = 5\n[http]", "send_timeout", '"send_timeout" directive is not allowed here'),
        # unknown
        ("[http]\nporxy_read_timeout = 5", "porxy", 'unknown directive "porxy_read_timeout", did you mean "proxy_read_timeout"?'),
        ("[http]\nzstd = true", "zstd", 'unknown directive "zstd"'),
        ("[htp]\n[http]", "htp", 'unknown directive "htp", did you mean "http"?'),
        # number of arguments
        ("[http]\nsend_timeout = [1, 2]", "send_timeout", 'invalid number of arguments in "send_timeout" directive'),
        ("[http]\nsend_timeout = []", "send_timeout", 'invalid number of arguments in "send_timeout" directive'),
        ("[http]\nkeepalive_timeout = [1, 2, 3]", "keepalive_timeout", 'invalid number of arguments in "keepalive_timeout" directive'),
        ("[http]\nlarge_client_header_buffers = 4", "large", 'invalid number of arguments in "large_client_header_buffers" directive'),
        # values, in nginx's words
        ("daemon = 'yes'\n[http]", "daemon", 'invalid value "yes" in "daemon" directive, it must be "on" or "off"'),
        ("[http]\nsend_timeout = 'soon'", "send_timeout", '"send_timeout" directive invalid value'),
        ("[http]\nsend_timeout = 1.5", "send_timeout", '"send_timeout" directive invalid value'),
        ("[http]\nkeepalive_requests = 'x'", "keepalive_requests", '"keepalive_requests" directive invalid number'),
        ("[events]\nworker_connections = 0\n[http]", "worker_connections", "value must be between 1 and 2147483647"),
        ("[http]\nclient_max_body_size = '1t'", "client_max", '"client_max_body_size" directive invalid value'),
        ("[http]\nproxy_next_upstream = ['error', 'sometimes']", "proxy_next", 'invalid value "sometimes"'),
        ("[http]\nproxy_set_header = { A = '$nope' }", "A =", 'unknown "nope" variable'),
        ("[[http.server]]\nlisten = 99999", "listen", 'invalid port in "99999" of the "listen" directive'),
        ("[[http.server]]\nlisten = [80, [81, 'tls']]", "[81", 'invalid parameter "tls"'),
        # zero bytes
        ('[http]\ndefault_type = "a\\u0000b"', "default_type", 'a zero byte in "default_type" directive'),
        ('[[http.server]]\n[http.server.location."/a\\u0000"]', '"/a', 'a zero byte in "location" directive'),
    ],
)  # fmt: skip
def test_a_directive_that_makes_no_sense_is_a_problem_with_a_place(text, fragment, problem):
    assert problems(text) == [f"{problem} in {at(text, fragment)}"]


def test_a_block_without_braces_and_braces_without_a_block():
    """TOML cannot say either; an nginx.conf can."""
    assert problems_of(inside_http(), node("events")) == ['directive "events" has no opening "{" in nginx.conf:1']
    assert problems_of(inside_http(), node("daemon", "on", inside=[])) == [
        'directive "daemon" is not terminated by ";" in nginx.conf:1'
    ]


def test_what_a_person_wrote_is_quoted_as_it_was():
    assert problems("daemon = '%s'\n[http]") == [
        f'invalid value "%s" in "daemon" directive, it must be "on" or "off" in {FILE}:1:1'
    ]


def test_all_problems_are_found_in_one_run():
    text = """
        damon = true
        pid = ["a", "b"]
        [events]
        worker_connections = "many"
        [http]
        send_timeout = "soon"
        [http.upstream.app]
        server = ["nowhere.example", "a:99999"]
        [http.upstream.empty]
        [[http.server]]
        listen = 0
        [http.server.location]
        "/a" = { proxy_pass = "ftp://a" }
        "/b" = { proxy_pass = "http://gone.example", listen = 80 }
        "=c" = {}
        "= c" = {}
        "^~c" = {}
        "c" = {}
    """
    expected = {
        'unknown directive "damon", did you mean "daemon"?': "damon",
        'invalid number of arguments in "pid" directive': "pid",
        '"worker_connections" directive invalid number': "worker_connections",
        '"send_timeout" directive invalid value': "send_timeout",
        'host not found in upstream "nowhere.example"': '"nowhere',
        'invalid port in upstream "a:99999"': '"a:99999',
        "no servers are inside upstream": "empty",
        'invalid port in "0" of the "listen" directive': "listen",
        "invalid URL prefix": "proxy_pass",
        '"listen" directive is not allowed here': "listen = 80",
        'duplicate location "c"': '"c" = ',
    }
    found = problems(text)
    assert f'duplicate location "c" in {at(text, chr(34) + "= c")}' in found
    found.remove(f'duplicate location "c" in {at(text, chr(34) + "= c")}')
    for problem, fragment in expected.items():
        assert f"{problem} in {at(text, fragment)}" in found
    assert f'host not found in upstream "gone.example" in {at(text, "proxy_pass", 2)}' in found
    assert len(found) == len(expected) + 1


def test_problems_of_listeners_are_found_in_the_same_run_and_come_last():
    found = problems(
        "[[http.server]]\nserver_name = 'a.*.b'\n[[http.server]]\n[http.server.location.'/']\nsend_timeout = 'soon'"
    )
    assert [problem.partition(" in ")[0] for problem in found] == [
        '"send_timeout" directive invalid value',
        'invalid server name or wildcard "a.*.b" on 0.0.0.0:80',
    ]


def test_a_refused_line_does_not_shift_the_place_of_the_next():
    text = """
        [[http.server]]
        [http.upstream.app]
        server = ["a:99999", "nowhere.example"]
    """
    assert f'host not found in upstream "nowhere.example" in {at(text, chr(34) + "nowhere")}' in problems(text)


# Listeners


def listeners(text: str) -> dict[str, tuple[str, list[str]]]:
    """Address -> (name of the default server, names that can be asked for)."""
    return {
        str(listener.address): (
            listener.servers.default.name if listener.servers.default else "",
            sorted(name.decode() for name in listener.servers.exact),
        )
        for listener in load(text).listeners
    }


def test_servers_meet_on_the_addresses_they_listen_on():
    assert listeners("""
        [[http.server]]
        listen = [8080, "127.0.0.1:8081"]
        server_name = "a"
        [[http.server]]
        listen = 8080
        server_name = [["b", "c"]]
        [[http.server]]
        listen = "unix:/run/front.sock"
        server_name = "d"
    """) == {
        "0.0.0.0:8080": ("a", ["a", "b", "c"]),
        "127.0.0.1:8081": ("a", ["a"]),
        "unix:/run/front.sock": ("d", ["d"]),
    }  # fmt: skip


def test_the_same_address_in_other_words_is_the_same_listener():
    assert list(
        listeners("""
        [[http.server]]
        listen = 8080
        [[http.server]]
        listen = "*:8080"
        server_name = "b"
        [[http.server]]
        listen = "0.0.0.0:8080"
        server_name = "c"
    """)
    ) == ["0.0.0.0:8080"]


def test_the_default_server_is_the_one_marked_so_else_the_first():
    assert listeners("""
        [[http.server]]
        server_name = "a"
        listen = [80, 81]
        [[http.server]]
        server_name = "b"
        listen = [["80", "default_server"], ["81"], ["82"]]
    """) == {
        "0.0.0.0:80": ("b", ["a", "b"]),
        "0.0.0.0:81": ("a", ["a", "b"]),
        "0.0.0.0:82": ("b", ["b"]),
    }  # fmt: skip


def test_an_address_has_one_default_server():
    text = """
        [[http.server]]
        listen = [["80", "default_server"]]
        [[http.server]]
        listen = [["81", "default_server"], ["80", "default_server"]]
    """
    assert problems(text) == [f"a duplicate default server for 0.0.0.0:80 in {at(text, '[' + chr(34) + '80', 2)}"]


def test_a_server_without_a_name_is_asked_for_by_requests_without_host():
    configuration = load("""
        [[http.server]]
        server_name = "a"
        [[http.server]]
    """)
    a, nameless = configuration.servers
    (listener,) = configuration.listeners
    assert listener.servers.find(None, request()) is nameless
    assert listener.servers.find(b"a", request()) is listener.servers.find(b"z", request()) is a


def test_server_names_add_up_over_lines():
    server = only_server(load('[[http.server]]\nserver_name = ["a", ["b", "c"]]'))
    assert ([name.text for name in server.names], server.name) == (["a", "b", "c"], "a")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("example.com", "example.com"),
        ("*.example.com", "*.example.com"),
        ("", ""),
        (".example.com", "example.com"),
        ("Example.COM", "example.com"),
    ],
)
def test_the_name_of_a_server_is_the_first_one(written, name):
    assert only_server(load(f'[[http.server]]\nserver_name = "{written}"')).name == name


def test_a_star_in_the_wrong_place_is_a_problem_of_the_address():
    """nginx finds it when it builds its tables, so that no line is to blame."""
    text = """
        [[http.server]]
        listen = 8080
        server_name = ["ok", "a.*.b"]
        [[http.server]]
        listen = 8080
        server_name = "other"
    """
    assert problems(text) == ['invalid server name or wildcard "a.*.b" on 0.0.0.0:8080']


def test_where_a_server_is_alone_its_names_do_not_matter():
    configuration = load('[[http.server]]\nlisten = 8080\nserver_name = ["a.*.b", "a", "a"]')
    assert [str(warning) for warning in configuration.warnings] == [
        'invalid server name or wildcard "a.*.b" on 0.0.0.0:8080, ignored'
    ]


def test_an_invalid_server_name_is_a_problem_of_its_line():
    text = '[[http.server]]\nlisten = 8080\nserver_name = ["ok", "*a.b"]'
    assert problems(text) == [f'server name "*a.b" is invalid in {at(text, chr(34) + "*a.b")}']


def test_a_listener_has_the_backlog_it_was_given():
    (listener,) = load("[[http.server]]\nlisten = [['80', 'backlog=7']]").listeners
    assert listener.options.backlog == 7


def test_a_backlog_counts_whichever_server_gives_it():
    (listener,) = load("[[http.server]]\nlisten = 80\n[[http.server]]\nlisten = [['80', 'backlog=7']]").listeners
    assert listener.options.backlog == 7


def test_a_server_listens_once_on_an_address():
    text = "[[http.server]]\nlisten = [80, '*:80']"
    assert problems(text) == [f"a duplicate listen 0.0.0.0:80 in {at(text, chr(39))}"]


# Upstreams


def peers(text: str, name: str) -> list[str]:
    return next([peer.name for peer in upstream.peers] for upstream in load(text).upstreams if upstream.name == name)


POOL = """
    [http.upstream.App]
    server = {servers}
    [[http.server]]
    [http.server.location."/"]
    proxy_pass = "{target}"
"""


@pytest.mark.parametrize("target", ["http://App", "http://app/", "HTTP://APP", "http://app?x"])
def test_a_proxy_pass_finds_its_upstream_in_any_case(target):
    configuration = load(POOL.format(servers='["127.0.0.1:1", "127.0.0.1:2"]', target=target))
    (upstream,) = configuration.upstreams
    assert location_at(configuration, "/").upstream is upstream
    assert (upstream.name, upstream.implicit) == ("App", False)


def test_an_upstream_may_stand_after_the_server_that_uses_it():
    configuration = load("""
        [[http.server]]
        location."/" = { proxy_pass = "http://app" }
        [http.upstream.app]
        server = "127.0.0.1:1"
    """)
    upstream = location_at(configuration, "/").upstream
    assert upstream and not upstream.implicit


@pytest.mark.parametrize("port", [80, 8080])
def test_an_upstream_may_not_have_a_port(port):
    text = POOL.format(servers='"127.0.0.1:1"', target=f"http://app:{port}")
    assert problems(text) == [f'upstream "App" may not have port {port} in {at(text, "proxy_pass")}']


@pytest.mark.parametrize(
    ("target", "name", "members"),
    [
        ("http://127.0.0.1", "127.0.0.1:80", ["127.0.0.1:80"]),
        ("http://127.0.0.1:3000/x", "127.0.0.1:3000", ["127.0.0.1:3000"]),
        ("http://[::1]:3000", "[::1]:3000", ["[::1]:3000"]),
        ("http://unix:/run/app.sock", "unix:/run/app.sock", ["unix:/run/app.sock"]),
        ("http://unix:app", "unix:app", ["unix:app"]),
        ("http://app.internal", "app.internal:80", ["192.0.2.80:80", "192.0.2.81:80"]),
        ("http://app.internal:3000", "app.internal:3000", ["192.0.2.80:3000", "192.0.2.81:3000"]),
        ("http://db.internal:90", "db.internal:90", ["[2001:db8::1]:90"]),
    ],
)
def test_what_is_no_upstream_is_a_group_of_its_addresses(target, name, members):
    text = POOL.format(servers='"127.0.0.1:1"', target=target)
    assert peers(text, name) == members
    upstream = location_at(load(text), "/").upstream
    assert upstream and upstream.implicit
    assert upstream.keepalive == 32


def test_locations_with_one_target_share_one_group():
    configuration = load("""
        [[http.server]]
        [http.server.location]
        "/a/" = { proxy_pass = "http://127.0.0.1:3000" }
        "/b/" = { proxy_pass = "http://127.0.0.1:3000/x" }
        "/c/" = { proxy_pass = "http://127.0.0.1:3001" }
    """)
    a, b, c = (location_at(configuration, path).upstream for path in ("/a/", "/b/", "/c/"))
    assert a is b is not c
    assert len(configuration.upstreams) == 2


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ('[[http.server]]\nlocation."/" = { proxy_pass = "http://h" }', "proxy_pass"),
        ('[[http.server]]\nlocation."/" = { proxy_pass = "http://h:3000/x" }', "proxy_pass"),
        ('[http.upstream.app]\nserver = ["127.0.0.1", "h"]', '"h"'),
        ('[http.upstream.app.server]\nh = { weight = 2 }', "h = "),
    ],
)  # fmt: skip
def test_a_host_that_is_not_found_is_a_problem(text, fragment):
    assert problems(text) == [f'host not found in upstream "h" in {at(text, fragment)}']


def test_a_name_with_several_addresses_is_several_peers():
    text = '[[http.server]]\n[http.upstream.app.server]\n"app.internal:90" = { weight = 3, max_fails = 2 }\n"10.0.0.1" = {}'
    (upstream,) = load(text).upstreams
    assert [(peer.name, peer.server, peer.weight, peer.max_fails) for peer in upstream.peers] == [
        ("192.0.2.80:90", "app.internal:90", 3, 2),
        ("192.0.2.81:90", "app.internal:90", 3, 2),
        ("10.0.0.1:80", "10.0.0.1", 1, 1),
    ]


def test_a_peer_has_the_parameters_of_its_line():
    (upstream,) = load("""
        [[http.server]]
        [http.upstream.app.server]
        "10.0.0.1" = { weight = 5, max_fails = 0, fail_timeout = "1m", max_conns = 9, backup = false, down = true }
        "10.0.0.2" = { backup = true }
        "10.0.0.3" = ["weight=2", "backup"]
    """).upstreams
    first, second, third = upstream.peers
    assert (first.weight, first.max_fails, first.fail_timeout, first.max_conns) == (5, 0, 60.0, 9)
    assert (first.backup, first.down) == (False, True)
    assert (second.weight, second.max_fails, second.fail_timeout, second.max_conns) == (1, 1, 10.0, 0)
    assert (second.backup, second.down) == (True, False)
    assert (third.weight, third.backup) == (2, True)


def test_a_server_of_an_upstream_may_stand_twice():
    assert peers('[[http.server]]\n[http.upstream.a]\nserver = ["10.0.0.1", "10.0.0.1"]', "a") == ["10.0.0.1:80"] * 2


def test_an_upstream_has_settings_of_its_own():
    (upstream,) = load("""
        [http]
        keepalive_timeout = "7s"
        [http.upstream.a]
        server = "10.0.0.1"
        keepalive = 5
        keepalive_requests = 9
        [[http.server]]
    """).upstreams
    assert (upstream.keepalive, upstream.keepalive_requests, upstream.keepalive_timeout) == (5, 9, 60.0)


@pytest.mark.parametrize(
    ("text", "fragment", "problem"),
    [
        ("[http.upstream.a]", "a]", "no servers are inside upstream"),
        ("[http.upstream.a]\nkeepalive = 5", "a]", "no servers are inside upstream"),
        ("[http.upstream.a.server]\n'10.0.0.1' = { backup = true }", "a.server", 'no servers in upstream "a"'),
        ("[http.upstream.a]\nserver = '1'\n[http.upstream.A]\nserver = '1'", "A]", 'duplicate upstream "A"'),
        ("[http.upstream.a.server]\n'10.0.0.1' = { weight = 0 }", "'10", 'invalid parameter "weight=0"'),
        ("[http.upstream.a]\nserver = '10.0.0.1:0'", "server", 'invalid port in upstream "10.0.0.1:0"'),
    ],
)  # fmt: skip
def test_an_upstream_that_makes_no_sense_is_a_problem(text, fragment, problem):
    text = text.replace("'1'", "'10.0.0.1'")
    assert problems(text) == [f"{problem} in {at(text, fragment)}"]


# Locations


def test_locations_are_exact_or_prefixes():
    configuration = load("""
        [[http.server]]
        [http.server.location]
        "/" = {}
        "= /" = {}
        "/with space" = {}
    """)
    found = [(location.modifier, location.pattern) for location in only_server(configuration).locations]
    assert found == [("server", ""), ("=", "/"), ("", "/"), ("", "/with space")]
    assert location_at(configuration, "/").modifier == "="
    assert location_at(configuration, "/with space/x").prefix == b"/with space"
    assert location_at(configuration, "/").server is only_server(configuration)


@pytest.mark.parametrize(
    ("keys", "fragment", "problem"),
    [
        (["= /a", "=  /a"], '"=  /a', 'duplicate location "/a"'),
        (["/a", "^~ /a"], '"^~ /a"', 'duplicate location "/a"'),
        (["~ ("], '"~ ("', 'pcre2_compile() failed: missing closing parenthesis in "("'),
        (["~* a)"], '"~* a)"', 'pcre2_compile() failed: unmatched closing parenthesis in "a)" at ")"'),
    ],
)
def test_a_location_that_makes_no_sense_is_a_problem(keys, fragment, problem):
    text = "[[http.server]]\n[http.server.location]\n" + "\n".join(f'"{key}" = {{}}' for key in keys)
    assert problems(text) == [f"{problem} in {at(text, fragment)}"]


def test_the_same_location_twice_is_a_problem_of_the_second():
    text = '[[http.server]]\nlocation."/a" = [{}, {}]'
    assert problems(text) == [f'duplicate location "/a" in {at(text, "{}", 2)}']


def test_servers_may_have_the_same_locations():
    load('[[http.server]]\nlocation."/a" = {}\n[[http.server]]\nlocation."/a" = {}')


# Logs


def test_a_log_names_a_format_that_there_is():
    configuration = load("""
        [http.log_format]
        short = "$remote_addr"
        json = ["escape=json", '{"a":"$remote_addr"', '}']
        [http]
        access_log = { "a.log" = "short", "b.log" = "json", "c.log" = "combined" }
        [[http.server]]
    """)
    assert sorted(configuration.log_formats) == ["combined", "json", "short"]
    assert configuration.log_formats["json"].text == '{"a":"$remote_addr"}'


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ('[http]\naccess_log = { "a.log" = "nope" }\n[[http.server]]', '"a.log"'),
        ('[[http.server]]\naccess_log = { "a.log" = "nope" }\nlocation = { "/a" = {}, "/b" = {} }', '"a.log"'),
        ('[[http.server]]\nlocation."/a".access_log = { "a.log" = "nope" }', '"a.log"'),
    ],
)
def test_an_unknown_format_is_one_problem_however_many_inherit_it(text, fragment):
    assert problems(text) == [f'unknown log format "nope" in {at(text, fragment)}']


def test_a_format_in_the_place_of_a_file_is_a_problem():
    text = '[http]\naccess_log = ["a.log", "combined"]\n[[http.server]]'
    (problem,) = problems(text)
    assert problem.startswith('"combined" in "access_log" is a log format, not a file: write { "FILE" = "combined" }')


def test_a_log_that_is_off_needs_no_format():
    load('[[http.server]]\naccess_log = { off = "nope" }')


@pytest.mark.parametrize(
    ("text", "problem"), [("$nope", 'unknown "nope" variable'), ("${host", 'the closing bracket in "host" variable is missing')]
)
def test_a_format_has_known_variables(text, problem):
    text = f"[http.log_format]\nbad = '{text}'\n[[http.server]]"
    assert problems(text) == [f"{problem} in {at(text, 'bad')}"]


# Size


@pytest.mark.slow
def test_a_thousand_servers_of_ten_locations_are_resolved_in_seconds():
    locations = [
        node("location", f"/{index}/", inside=[node("proxy_pass", "http://app"), node("proxy_set_header", "Host", "$host")])
        for index in range(10)
    ]
    servers = [
        node("server", inside=[node("listen", "8080"), node("server_name", f"s{index}.example"), *locations])
        for index in range(1000)
    ]
    upstream = node("upstream", "app", inside=[node("server", "10.0.0.1")])
    started = time.perf_counter()
    configuration = resolve_nodes(inside_http(upstream, *servers))
    assert time.perf_counter() - started < 3
    (listener,) = configuration.listeners
    found = find(listener.servers.find(b"s999.example", request()).locations, "/7/x")
    assert (found.pattern, found.server.name) == ("/7/", "s999.example")


def test_a_name_that_another_server_has_is_a_warning():
    configuration = load(
        """
        [[http.server]]
        listen = 80
        server_name = ["a", "b"]
        [[http.server]]
        listen = [80, 81]
        server_name = ["b", "c"]
        """
    )
    assert [warning.text for warning in configuration.warnings] == ['conflicting server name "b" on 0.0.0.0:80, ignored']


@pytest.mark.parametrize(
    "line, text",
    [
        ('access_log = "syslog:server=127.0.0.1"', '"syslog:" in "access_log" directive is not supported yet'),
        ('access_log = "logs/$host.log"', 'a variable in the path of "access_log" directive is not supported yet'),
    ],
)
def test_what_does_not_work_yet_is_refused_and_not_taken_literally(line, text):
    text_of_file = f"[[http.server]]\nlisten = 80\n{line}\n"
    if line.startswith("access_log"):
        text_of_file = f"[http]\n{line}\n" + text_of_file
    assert any(problem.startswith(text) for problem in problems(text_of_file))


def test_keepalive_local_is_refused_while_idle_connections_are_shared():
    text = '[http.upstream.u]\nserver = "127.0.0.1:1"\nkeepalive = [8, "local"]\n[[http.server]]\nlisten = 80\n'
    assert problems(text) == [f'"local" in "keepalive" directive is not supported yet in {at(text, "keepalive")}']
