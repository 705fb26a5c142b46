"""From tree to model: inheritance, links between names, and everything that can be wrong, found in one run.

Texts are wproxy.toml where it can say what is tested; what only an nginx.conf could say (a directive twice in a block) is a
tree made by hand.
"""

from __future__ import annotations

import gc
import os
import re
import textwrap

import pytest

from tests.quickest import quickest
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


def load_nginx(inside_http: str) -> Configuration:
    """The configuration of what stands in `http`; line 1 is the one before."""
    return load_text(f"events {{}} http {{\n{inside_http}\n}}".encode(), "nginx.conf", "/srv/", look_up)


def nginx_problems(inside_http: str) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        load_nginx(inside_http)
    return [str(problem) for problem in error.value.problems]


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


# As in nginx's documentation of `listen`.
DEFAULT_PORT = 80 if os.geteuid() == 0 else 8000


def test_the_smallest_configuration_is_a_server_with_every_default():
    configuration = load("[[http.server]]")
    assert (configuration.worker_processes, configuration.daemon, configuration.worker_connections) == (1, True, 1024)
    assert configuration.error_log == MainDirectives.error_log
    assert (configuration.file, configuration.prefix) == (FILE, "/srv/")
    assert configuration.upstreams == ()
    assert list(configuration.log_formats) == ["combined", "wproxy_json"]
    (listener,) = configuration.listeners
    assert listener.address == Address("0.0.0.0", DEFAULT_PORT)
    assert listener.servers.default is only_server(configuration)


def test_paths_start_at_the_prefix():
    configuration = load("[[http.server]]")
    assert configuration.path("logs/a") == "/srv/logs/a"
    assert configuration.path("/var/log/a") == "/var/log/a"


@pytest.mark.parametrize("text", ["", "daemon = false"])
def test_a_file_without_any_block_is_a_mistake(text):
    assert problems(text) == ['no "http" section in configuration']


def test_a_configuration_may_have_no_http():
    assert load("[events]").servers == ()

    def load_conf(text: str) -> Configuration:
        return load_text(text.encode(), "nginx.conf", "/srv/", look_up)

    assert load_conf("events {}").listeners == ()
    (warning,) = load_conf("events {} stream { server { listen 1; } }").warnings
    assert warning.text == '"stream" directive is accepted and not yet effective'
    with pytest.raises(ConfigurationError, match='no "events" section in configuration'):
        load_conf("daemon off;")


def test_of_several_things_on_one_line_each_is_told():
    configuration = load_nginx(CERTIFICATE + "server { listen 8443 ssl; location / { perl x; } xml_entities x; }")
    assert [warning.text for warning in configuration.warnings] == [
        '"xml_entities" directive is accepted and not yet effective',
        '"perl" directive is accepted and not yet effective: a start refuses it',
    ]


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


def test_a_set_of_words_adds_up_in_a_block_and_is_replaced_inside():
    configuration = load_nginx("""
        proxy_next_upstream error;
        proxy_next_upstream http_502 timeout;
        server {
            location /outer { }
            location /own { proxy_next_upstream http_503; location /own/inner { } }
        }
    """)
    assert location_at(configuration, "/outer").proxy_next_upstream == {"error", "http_502", "timeout"}
    assert location_at(configuration, "/own").proxy_next_upstream == {"http_503"}
    assert location_at(configuration, "/own/inner").proxy_next_upstream == {"http_503"}


@pytest.mark.parametrize(
    ("mode", "server", "location", "nested"),
    [
        (None, ["B"], ["C"], ["C"]),
        ("on", ["B"], ["C"], ["C"]),
        ("off", ["B"], ["C"], []),
        ("merge", ["B", "A"], ["C", "B", "A"], ["C", "B", "A"]),
    ],
)
@pytest.mark.parametrize("name", ["add_header", "add_trailer"])
def test_what_is_added_is_inherited_as_told(name, mode, server, location, nested):
    """`merge`: its own items, then those around; the mode itself is inherited (routing.md §1.4)."""
    configuration = load_nginx(f"""
        {name} A 1;
        {f"{name}_inherit {mode};" if mode else ""}
        server {{
            {name} B 1;
            location /l {{ {name} C 1; location /l/nested {{ }} }}
        }}
    """)
    fields = [
        [field.name.decode() for field in getattr(place, name)]
        for place in (location_at(configuration, "/"), location_at(configuration, "/l"), location_at(configuration, "/l/nested"))
    ]
    assert fields == [server, location, nested]


def test_nested_locations_inherit_from_the_one_around_but_for_what_is_its_own():
    configuration = load_nginx("""
        server {
            location /a {
                internal;
                send_timeout 7;
                proxy_pass http://127.0.0.1:1;
                try_files a b;
                set $x 1;
                limit_except GET { }
                location /a/b { }
            }
        }
    """)
    outer, inner = location_at(configuration, "/a"), location_at(configuration, "/a/b")
    assert (outer.internal, inner.internal) == (True, True)
    assert (outer.send_timeout, inner.send_timeout) == (7, 7)
    assert outer.proxy_target and outer.upstream and outer.try_files and outer.steps and outer.for_other_methods
    assert (inner.proxy_target, inner.upstream, inner.try_files, inner.steps, inner.for_other_methods) == (
        None,
        None,
        None,
        (),
        None,
    )
    assert inner.limit_except is None


def test_an_if_is_the_location_around_it_with_its_own_settings():
    configuration = load_nginx("""
        server {
            location /a/ {
                proxy_pass http://127.0.0.1:1;
                add_header A 1;
                root /outer;
                try_files a b;
                if ($host) { add_header B 1; set $x 1; }
                if ($uri) { proxy_pass http://127.0.0.1:2; root /inner; }
            }
        }
    """)
    around = location_at(configuration, "/a/")
    first, second = (step.location for step in around.steps)
    assert (first.kind, first.modifier, first.pattern, first.prefix) == ("if", "", "/a/", b"/a/")
    assert first.proxy_target is around.proxy_target and first.upstream is around.upstream
    assert [field.name for field in first.add_header] == [b"B"]
    assert [field.name for field in second.add_header] == [b"A"]
    assert first.try_files is None and second.try_files is None, "lost where the if holds"
    assert second.upstream.name == "127.0.0.1:2"
    assert (first.files.root, second.files.root) == (b"/outer", b"/inner")
    assert first.steps == second.steps == ()
    assert [step.name for step in around.steps[0].steps] == ["x"]


def test_an_if_in_a_regex_location_is_of_the_same_regex():
    configuration = load_nginx("server { location ~* ^/A { if ($host) { add_header B 1; } } }")
    around = location_at(configuration, "/a")
    assert around.steps[0].location.regex is around.regex is not None


def test_limit_except_inherits_the_target_too():
    configuration = load_nginx("""
        server {
            location / { proxy_pass http://127.0.0.1:1; limit_except GET { } }
            location /own { proxy_pass http://127.0.0.1:1; limit_except GET { proxy_pass http://127.0.0.1:2; } }
            location /none { limit_except GET { } }
        }
    """)
    inherited, own, none = (location_at(configuration, path) for path in ("/", "/own", "/none"))
    assert inherited.for_other_methods.upstream is inherited.upstream
    assert own.for_other_methods.upstream.name == "127.0.0.1:2"
    assert none.for_other_methods.upstream is None
    assert inherited.for_other_methods.kind == "limit_except"


@pytest.mark.parametrize(
    ("server", "location", "is_alias", "root"),
    [
        ("root /s;", "", False, b"/s"),
        ("root /s;", "alias /l/;", True, b"/l/"),
        ("", "alias /l/; location /l/n { root /n; }", True, b"/l/"),
    ],
)
def test_an_alias_takes_the_place_of_a_root(server, location, is_alias, root):
    files = location_at(load_nginx(f"server {{ {server} location /l {{ {location} }} }}"), "/l").files
    assert (files.is_alias, files.root) == (is_alias, root)


def test_a_root_inside_takes_the_place_of_an_alias_and_else_it_goes_on():
    configuration = load_nginx("server { location /l { alias /a/; location /l/n { root /n; } location /l/o { } } }")
    nested, other = location_at(configuration, "/l/n"), location_at(configuration, "/l/o")
    assert (nested.files.is_alias, nested.files.root) == (False, b"/n")
    assert (other.files.is_alias, other.files.root, other.files.cut) == (True, b"/a/", len("/l"))


def test_the_steps_of_a_server_are_not_those_of_what_no_location_takes():
    """They have acted before (nginx: ngx_http_rewrite_handler skips the null location)."""
    server = only_server(load_nginx("server { set $x 1; if ($host) { break; } location /a { set $y 1; } }"))
    assert [type(step).__name__ for step in server.steps] == ["Assignment", "If"]
    assert server.steps[1].location is None
    assert server.locations.fallback.steps == ()
    assert [step.name for step in find(server.locations, "/a").steps] == ["y"]


def test_steps_are_in_the_order_of_the_file_whatever_their_names():
    server = only_server(load_nginx("server { rewrite a b; set $x 1; return 404; rewrite c d; break; }"))
    assert [type(step).__name__ for step in server.steps] == ["Rewrite", "Assignment", "Return", "Rewrite", "Break"]


def test_locations_with_the_same_types_share_one_table():
    configuration = load_nginx("""
        types { a/b c; }
        types { d/e f; }
        server { location /a { } location /b { types { g/h c; } } location /c { } }
    """)
    a, b, c = (location_at(configuration, path).files for path in ("/a", "/b", "/c"))
    assert a._types is c._types
    assert (a.type_of(b"/x.c"), a.type_of(b"/x.f"), b.type_of(b"/x.c")) == (b"a/b", b"d/e", b"g/h")
    assert b.type_of(b"/x.f") == b"text/plain"


def test_a_secure_target_has_the_port_of_https():
    configuration = load_nginx("server { location / { proxy_pass https://127.0.0.1; } }")
    assert configuration.refusals == ()
    assert location_at(configuration, "/").upstream.peers[0].name == "127.0.0.1:443"


@pytest.mark.parametrize(
    ("path", "pattern", "status"),
    [("/a/", "/a/", None), ("/a", "/a", 301), ("/b", "/b", None), ("/c", "", None), ("/d", "/d", 301), ("/e", "", None)],
)
def test_a_proxied_directory_redirects_those_without_its_slash(path, pattern, status):
    """Unless there is a location for them (nginx: ngx_http_core_find_static_location, auto_redirect)."""
    configuration = load_nginx("""
        server {
            location /a/ { proxy_pass http://127.0.0.1; }
            location /b/ { proxy_pass http://127.0.0.1; }
            location = /b { }
            location /c/ { }
            location = /d/ { proxy_pass http://127.0.0.1; }
            location ~ ^/e/ { proxy_pass http://127.0.0.1; }
        }
    """)
    found = location_at(configuration, path)
    assert (found.pattern, found.steps[0].status if found.steps else None) == (pattern, status)


def test_variables_may_be_used_above_the_line_that_makes_them():
    configuration = load_nginx("""
        server { location / { return 200 $mapped$set$named; } set $set 1; server_name ~^(?<named>.)$; }
        map $host $mapped { default x; }
    """)
    assert location_at(configuration, "/").steps


def test_problems_come_in_the_order_of_the_file_and_each_once():
    found = nginx_problems("""
        sendfile maybe;
        server {
            nope;
            location / { send_timeout x; location /b { deny; } }
            listen 99999;
        }
        upstream u { }
        server { listen 8080 foo; server_name a; }
    """)
    assert found == [
        'invalid value "maybe" in "sendfile" directive, it must be "on" or "off" in nginx.conf:3',
        'unknown directive "nope" in nginx.conf:5',
        '"send_timeout" directive invalid value in nginx.conf:6',
        'invalid number of arguments in "deny" directive in nginx.conf:6',
        'invalid port in "99999" of the "listen" directive in nginx.conf:7',
        "no servers are inside upstream in nginx.conf:9",
        'invalid parameter "foo" in nginx.conf:10',
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("log_format f $nope; access_log a.log f;", 'unknown "nope" variable in nginx.conf:2'),
        ("log_format f escape=no a; access_log a.log f;", 'unknown log format escaping "no" in nginx.conf:2'),
        (
            "upstream u { server ::1; server 127.0.0.1 backup; } server { location / { proxy_pass http://u; } }",
            'invalid port in upstream "::1", did you mean "[::1]"? in nginx.conf:2',
        ),
    ],
)
def test_what_names_something_that_could_not_be_read_is_not_wrong_too(text, problem):
    assert nginx_problems(text) == [problem]


def test_a_pool_that_could_not_be_read_is_not_unknown_too():
    with pytest.raises(ConfigurationError) as caught:
        load('thread_pool = { p = "threads=x" }\n[http]\naio = "threads=p"\n')
    assert len(caught.value.problems) == 1


def test_what_is_wrong_outside_is_said_once_however_many_inherit_it():
    assert len(nginx_problems("root $nope; server { location /a { } location /b { } } server { }")) == 1


@pytest.mark.parametrize(
    ("inside", "line"),
    [
        ("proxy_busy_buffers_size 64k; server { location / { } }", 2),
        ("server {\nproxy_buffer_size 32k;\nlocation / { proxy_buffering off; } }", 3),
        ("server { location / {\nproxy_buffers 2 4k; } }", 3),
        ("server { location / { limit_except GET { deny all; } location /a {\nproxy_busy_buffers_size 30k; } } }", 3),
    ],
)
def test_buffers_that_do_not_fit_are_found_where_they_were_written(inside, line):
    text = '"proxy_busy_buffers_size" must be less than the size of all "proxy_buffers" minus one buffer'
    assert nginx_problems(inside) == [f"{text} in nginx.conf:{line}"]


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
        ("[http]\nfrobnicate = true", "frobnicate", 'unknown directive "frobnicate"'),
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
    (said,) = problems(text)
    assert re.sub(", it belongs inside .* there(?= in )", "", said) == f"{problem} in {at(text, fragment)}"


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
    found = problems("[[http.server]]\nserver_name = 'a.*.b'\n[[http.server]]\n[http.server.location.'/']\nsend_timeout = 'soon'")
    assert [problem.partition(" in ")[0] for problem in found] == [
        '"send_timeout" directive invalid value',
        f'invalid server name or wildcard "a.*.b" on 0.0.0.0:{DEFAULT_PORT}',
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


CERTIFICATE = "ssl_certificate a; ssl_certificate_key b; "


def test_a_server_listens_once_on_an_address():
    text = "[[http.server]]\nlisten = [80, '*:80']"
    assert problems(text) == [f"a duplicate listen 0.0.0.0:80 in {at(text, chr(39))}"]


@pytest.mark.parametrize(
    ("lines", "warned"),
    [
        (["8443", "8443"], 0),
        (["8443 ssl", "8443 ssl"], 0),
        (["8443 ssl", "8443"], 0),
        (["8443", "8443 ssl"], 0),
        (["8443 ssl", "8443 ssl", "8443"], 1),
        (["8443", "8443 ssl", "8443 ssl"], 1),
        (["8443 ssl", "8443 http2"], 1),
        (["8443 backlog=5", "8443 ssl"], 1),
        (["8443 ssl", "8443 backlog=5"], 1),
        (["8443 ssl", "8443 quic"], 0),
    ],
)
def test_servers_of_an_address_speak_the_same_protocols(lines, warned):
    servers = "".join(f"server {{ listen {line}; server_name a{n}; }}" for n, line in enumerate(lines))
    configuration = load_nginx(CERTIFICATE + servers)
    texts = [warning.text for warning in configuration.warnings if "effective" not in warning.text]
    deprecated = 'the "listen ... http2" directive is deprecated, use the "http2" directive instead'
    assert texts.count(deprecated) == sum("http2" in line for line in lines)
    assert [text for text in texts if text != deprecated] == ["protocol options redefined for 0.0.0.0:8443"] * warned


def test_quic_has_a_socket_of_its_own_beside_another_of_the_same_address():
    configuration = load_nginx(
        CERTIFICATE + "server { listen 8443 ssl; listen 8443 quic reuseport; server_name a; } server { listen 8443 quic; }"
    )
    assert [str(listener.address) for listener in configuration.listeners] == ["0.0.0.0:8443"]
    assert [refusal.text.partition(" is ")[0] for refusal in configuration.refusals] == [
        '"quic" parameter of "listen" directive',
    ]


@pytest.mark.parametrize("line", ["8443 quic; listen 8443 quic", "8443 ssl; listen 8443"])
def test_a_server_listens_once_on_an_address_for_each_transport(line):
    assert nginx_problems(f"server {{ listen {line}; }}") == ["a duplicate listen 0.0.0.0:8443 in nginx.conf:2"]


def test_a_range_of_ports_is_a_listener_each():
    configuration = load_nginx("server { listen 127.0.0.1:8000-8002 default_server; }")
    assert [str(listener.address) for listener in configuration.listeners] == [f"127.0.0.1:800{n}" for n in range(3)]


def test_the_names_of_a_server_are_tried_in_order_of_kind_not_of_file():
    configuration = load_nginx("""
        server { listen 80; server_name ~^(?<who>.+)\\.example$; }
        server { listen 80; server_name www.*; }
        server { listen 80; server_name *.example; }
        server { listen 80; server_name www.example; }
    """)
    regex, prefix, suffix, exact = configuration.servers
    (listener,) = configuration.listeners
    asked = request()
    found = [listener.servers.find(host, asked) for host in (b"www.example", b"a.example", b"www.other")]
    assert found == [exact, suffix, prefix]
    assert listener.servers.find(b"example", asked) is regex, "the first one is the default"
    assert asked.values is None
    assert [server.name for server in configuration.servers] == [r"~^(?<who>.+)\.example$", "www.*", "*.example", "www.example"]


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
    assert sorted(configuration.log_formats) == ["combined", "json", "short", "wproxy_json"]
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


def test_a_log_that_is_off_has_no_format():
    (problem,) = problems('[[http.server]]\naccess_log = { off = "nope" }')
    assert problem.startswith('invalid parameter "nope"')


@pytest.mark.parametrize(
    ("text", "problem"), [("$nope", 'unknown "nope" variable'), ("${host", 'the closing bracket in "host" variable is missing')]
)
def test_a_format_has_known_variables(text, problem):
    text = f"[http.log_format]\nbad = '{text}'\n[[http.server]]"
    assert problems(text) == [f"{problem} in {at(text, 'bad')}"]


# Size


@pytest.fixture
def alone():
    """Keeps what other tests have left from being looked through for garbage while this one is timed, and from then on."""
    gc.collect()
    gc.freeze()


@pytest.mark.slow
def test_a_thousand_servers_of_ten_locations_are_resolved_in_seconds(alone):
    locations = [
        node("location", f"/{index}/", inside=[node("proxy_pass", "http://app"), node("proxy_set_header", "Host", "$host")])
        for index in range(10)
    ]
    servers = [
        node("server", inside=[node("listen", "8080"), node("server_name", f"s{index}.example"), *locations])
        for index in range(1000)
    ]
    upstream = node("upstream", "app", inside=[node("server", "10.0.0.1")])
    seconds, configuration = quickest(3, lambda: resolve_nodes(inside_http(upstream, *servers)))
    assert seconds < 3
    (listener,) = configuration.listeners
    found = find(listener.servers.find(b"s999.example", request()).locations, "/7/x")
    assert (found.pattern, found.server.name) == ("/7/", "s999.example")


@pytest.mark.slow
@pytest.mark.parametrize("file", ["nginx.conf", "wproxy.toml"])
def test_a_thousand_servers_of_ten_locations_are_read_in_seconds(file, alone):
    if file == "nginx.conf":
        locations = "".join(f"location /{n}/ {{ proxy_pass http://app; proxy_set_header Host $host; }}\n" for n in range(10))
        servers = "".join(f"server {{ listen 8080; server_name s{n}.example;\n{locations} }}\n" for n in range(1000))
        text = f"events {{}} http {{ upstream app {{ server 10.0.0.1; }}\n{servers} }}"
    else:
        locations = "".join(
            f'[http.server.location."/{n}/"]\nproxy_pass = "http://app"\nproxy_set_header.Host = "$host"\n' for n in range(10)
        )
        servers = "".join(f'[[http.server]]\nlisten = 8080\nserver_name = "s{n}.example"\n{locations}' for n in range(1000))
        text = f'[http.upstream.app]\nserver = "10.0.0.1"\n{servers}'
    seconds, configuration = quickest(3, lambda: load_text(text.encode(), file, "/srv/", look_up))
    assert seconds < 3
    assert len(configuration.servers) == 1000


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
    ("lines", "is_transparent"),
    [
        ("proxy_bind 127.0.0.1; location / { proxy_pass http://one; }", False),
        ("location / { proxy_pass http://one; proxy_bind off; }", False),
        ("location / { proxy_pass http://one; proxy_bind $remote_addr transparent; }", True),
        ("location / { location /a { if ($arg_a) { proxy_pass http://one; } proxy_bind 127.0.0.1 transparent; } }", True),
    ],
)
def test_a_configuration_knows_whether_it_binds_to_addresses_of_others(lines, is_transparent):
    assert (
        load_nginx(f"upstream one {{ server 127.0.0.1:1; }} server {{ listen 127.0.0.1:80; {lines} }}").is_transparent
        is is_transparent
    )


def test_a_start_makes_the_directories_of_temporary_files_and_caches_wherever_they_are_named():
    configuration = load_nginx(
        "proxy_cache_path cache/one keys_zone=one:1m;\nproxy_cache_path /two/ keys_zone=two:1m;\nscgi_cache_path s keys_zone=s:1m;\n"
        "client_body_temp_path body;\nserver { listen 127.0.0.1:80; client_body_temp_path /other;\nfastcgi_temp_path body; }"
    )
    places = {path: position.line for path, position in configuration.made_directories.items()}
    assert places == {"/srv/cache/one": 2, "/two": 3, "/srv/s": 4, "/srv/body": 5, "/other": 6}


# Passing requests on, by whatever protocol


@pytest.mark.parametrize(
    ("lines", "module"),
    [
        ("proxy_pass http://127.0.0.1:1; fastcgi_pass 127.0.0.1:2;", "fastcgi"),
        ("fastcgi_pass 127.0.0.1:2; proxy_pass http://127.0.0.1:1;", "proxy"),
        ("scgi_pass 127.0.0.1:2; uwsgi_pass 127.0.0.1:3; fastcgi_pass 127.0.0.1:2;", "fastcgi"),
    ],
)
def test_of_several_passes_the_last_one_counts(lines, module):
    location = location_at(load_nginx(f"server {{ location /a {{ {lines} }} }}"), "/a")
    assert location.pass_module == module
    assert location.target is getattr(location, f"{module}_target") is not None
    others = [name for name in ("proxy", "fastcgi", "uwsgi", "scgi", "memcached") if name != module]
    assert not any(getattr(location, f"{name}_target") for name in others)
    assert location.upstream.name == str(location.target.address)


def test_an_if_passes_on_as_the_location_around_it_unless_it_has_a_pass_of_its_own():
    configuration = load_nginx("""
        server {
            location /a/ {
                fastcgi_pass 127.0.0.1:1;
                if ($host) { add_header B 1; }
                if ($uri) { scgi_pass 127.0.0.1:2; }
            }
        }
    """)
    around = location_at(configuration, "/a/")
    first, second = (step.location for step in around.steps)
    assert (first.pass_module, first.fastcgi_target) == ("fastcgi", around.fastcgi_target)
    assert (second.pass_module, second.fastcgi_target, second.upstream.name) == ("scgi", None, "127.0.0.1:2")


@pytest.mark.parametrize("line", ["fastcgi_pass 127.0.0.1:1;", "uwsgi_pass $arg_to;", "scgi_pass unix:/x;"])
def test_a_directory_that_is_passed_on_is_redirected_to(line):
    configuration = load_nginx(f"server {{ location /a/ {{ {line} }} }}")
    redirect = location_at(configuration, "/a")
    assert (redirect.modifier, redirect.pass_module, redirect.target) == ("=", "", None)
    assert location_at(configuration, "/a/").target is not None
