"""Configurations made fit to start here: their directives as they were written, with ports, peers and paths of this test in them.

`IN_ITS_PLACE` is the list of all that is changed. What a start refuses because it is not carried out yet is left out or replaced
there by something near; a test holds that such a row is still refused, so the list gets shorter as wproxy learns.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from bench.ports import free_port
from tests.example_copies import make_certificate
from wproxy.config.registry import REGISTRY
from wproxy.config.tree import Node

PLACES_LOG = "logs/places.log"
USER, PASSWORD = "anna", "secret"


class Local:
    """Where a copy lives: its directory, the backend that stands for all of its peers, and the port for each that it listens on."""

    def __init__(self, directory: Path, backend_port: int, backend_socket: str) -> None:
        self.directory = directory
        self.backend_port = backend_port
        self.backend_socket = backend_socket
        self.ports: dict[str, int] = {}
        self.upstreams: set[str] = set()

    def port(self, written: str) -> int:
        """The port that is listened on instead of a written one, or of an address that does not name one."""
        if written not in self.ports:
            taken = set(self.ports.values())
            self.ports[written] = next(port for port in iter(free_port, None) if port not in taken)
        return self.ports[written]


Rule = Callable[[Node, Local], "list[Node]"]

_PORT = re.compile(r"(?<![\d:.])(\d+)$|(?<=[\].\w*]):(\d+)$")
_HOST = re.compile(r"(?:[\w.-]+|\[[\da-f:]+\])(?::\d+)?")


def with_arguments(node: Node, *arguments: str, name: str = "") -> Node:
    """The node with other arguments."""
    return Node(name or node.name, arguments, node.position, node.children)


def left_out(node: Node, local: Local) -> list[Node]:
    """Nothing."""
    return []


def certificate_of(local: Local) -> str:
    """The name of a file with a certificate and its key, made for the copy."""
    file = local.directory / "copy.pem"
    if not file.exists():
        file.write_bytes(b"".join(make_certificate()))
    return file.name


def with_a_certificate(node: Node, local: Local) -> list[Node]:
    """A certificate that is not there becomes that of the copy; and so does its key."""
    (path,) = node.arguments
    if "$" in path or path.startswith("data:") or (local.directory / path).exists():
        return [node]
    return [with_arguments(node, certificate_of(local))]


def if_there(node: Node, local: Local) -> list[Node]:
    """A line that names a file, if the copy has it."""
    return [node] if (local.directory / node.arguments[0]).exists() else []


def answered(node: Node, local: Local) -> list[Node]:
    """A server that refuses handshakes answers."""
    return [with_arguments(node, certificate_of(local), name=name) for name in ("ssl_certificate", "ssl_certificate_key")]


def on_a_free_port(node: Node, local: Local) -> list[Node]:
    """`listen` without the protocols that are not carried out yet."""
    address, *parameters = node.arguments
    kept = [word for word in parameters if word not in REGISTRY["listen"][0].idle_parameters]
    if not address.startswith("unix:"):
        match = _PORT.search(address)
        written = (match[1] or match[2]) if match else "80"
        host = address[: match.start()] if match else f"{address}"
        address = f"{host}:{local.port(written)}" if host else str(local.port(written))
    if address.startswith("unix:"):
        address = f"unix:{local.directory}/{Path(address[5:]).name}"
    return [with_arguments(node, address, *kept)]


def local_address(address: str, local: Local) -> str:
    """The backend instead of an address, and the same kind of socket."""
    if "$" in address:  # the variable goes where it does no harm
        return re.sub(r"^127\.0\.0\.1:(\$\w+)(.*)", rf"127.0.0.1:{local.backend_port}\2?port=\1", address)
    if address.startswith("unix:"):
        _, colon, rest = address[5:].partition(":")
        return f"unix:{local.backend_socket}{colon}{rest}"
    return _HOST.sub(f"127.0.0.1:{local.backend_port}", address, count=1)


def to_the_backend(node: Node, local: Local) -> list[Node]:
    """A `server` of an upstream with the address of our backend."""
    if node.children is not None:
        return [node]
    address, *parameters = node.arguments
    kept = [word for word in parameters if not word.startswith("service=")]
    return [with_arguments(node, local_address(address, local), *kept)]


def plainly_proxied(node: Node, local: Local) -> list[Node]:
    """`proxy_pass` over plain HTTP, to an upstream of the file or to our backend."""
    _, _, rest = node.arguments[0].rpartition("://")
    host, slash, uri = rest.partition("/")
    if host.startswith("unix:") or "$" in host[1:]:
        rest = local_address(rest, local)
    elif not host.startswith("$") and host not in local.upstreams:
        rest = f"{local_address(host, local)}{slash}{uri}"
    return [with_arguments(node, f"http://{rest}", name="proxy_pass")]


def set_to_the_backend(node: Node, local: Local) -> list[Node]:
    """A variable with an address in it."""
    name, value = node.arguments
    return [with_arguments(node, name, local_address(value, local) if re.fullmatch(r"127\.0\.0\.1:\d+", value) else value)]


def with_time_to_answer(node: Node, local: Local) -> list[Node]:
    """A time limit of more than nothing."""
    return [with_arguments(node, "60s")] if node.arguments[0] in ("0", "0s") else [node]


def with_a_page(node: Node, local: Local) -> list[Node]:
    """A root with a page in it."""
    written = node.arguments[0]
    place = local.directory / written.lstrip("/")
    if "$" not in written:
        if node.name == "alias" and not written.endswith("/"):
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.write_text(f"the file {written}")
        else:
            place.mkdir(parents=True, exist_ok=True)
            (place / "index.html").write_text(f"the page of {written}")
    return [with_arguments(node, written.lstrip("/"))]


def below_the_copy(node: Node, local: Local) -> list[Node]:
    """A file of ours instead of one of the system's, in a directory that there is."""
    path, *more = node.arguments
    if not path.startswith("/dev/") and "$" not in path and path not in ("off", "stderr"):
        path = path.lstrip("/")
        (local.directory / path).parent.mkdir(parents=True, exist_ok=True)
    return [with_arguments(node, path, *more)]


def to_logs_of_ours(node: Node, local: Local) -> list[Node]:
    """A log that is no system's."""
    return left_out(node, local) if node.arguments[0].startswith(("syslog:", "/dev/")) else below_the_copy(node, local)


def of_our_user(node: Node, local: Local) -> list[Node]:
    """A file with the user that some of the questions come from."""
    (local.directory / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    return [with_arguments(node, "users")]


def alone(node: Node, local: Local) -> list[Node]:
    """A zone that no other machine shares."""
    return [with_arguments(node, *(word for word in node.arguments if not word.startswith("sync=")))]


def without_haste(node: Node, local: Local) -> list[Node]:
    """A zone of our own that lets all questions through."""
    words = ("rate=100000r/s" if word.startswith("rate=") else word for word in node.arguments)
    return alone(with_arguments(node, *words), local)


def one_worker(node: Node, local: Local) -> list[Node]:
    """One: what more of them do is tested elsewhere, and they cost time."""
    return [with_arguments(node, "1")]


def each(names: str, rule: Rule) -> dict[str, Rule]:
    """The rule for each of these directives."""
    return dict.fromkeys(names.split(), rule)


# What is not carried out yet, so that a start refuses it.
NOT_YET: dict[str, Rule] = {
    **each("perl", left_out),
}
# What belongs to the machine that a file was written for.
ELSEWHERE: dict[str, Rule] = {
    **each("listen", on_a_free_port),
    # The backend speaks HTTP only.
    **each("fastcgi_pass uwsgi_pass scgi_pass memcached_pass grpc_pass", plainly_proxied),
    **each("auth_basic_user_file", of_our_user),
    **each("ssl_certificate ssl_certificate_key", with_a_certificate),
    **each("ssl_reject_handshake", answered),
    **each("ssl_password_file proxy_ssl_password_file grpc_ssl_password_file uwsgi_ssl_password_file", if_there),
    **each(
        "ssl_client_certificate ssl_trusted_certificate ssl_crl ssl_dhparam ssl_session_ticket_key ssl_stapling_file", if_there
    ),
    **each("proxy_ssl_crl grpc_ssl_crl uwsgi_ssl_crl", if_there),
    **each("proxy_ssl_trusted_certificate grpc_ssl_trusted_certificate uwsgi_ssl_trusted_certificate", if_there),
    **each("limit_conn_zone sticky", alone),
    **each("limit_req_zone", without_haste),  # the questions come all at once
    **each("server", to_the_backend),
    **each("proxy_pass", plainly_proxied),
    **each("set", set_to_the_backend),
    **each("proxy_read_timeout proxy_send_timeout proxy_connect_timeout", with_time_to_answer),
    **each("root alias", with_a_page),
    **each(
        "pid lock_file state api_socket client_body_temp_path proxy_temp_path proxy_cache_path fastcgi_cache_path", below_the_copy
    ),
    **each("error_log access_log", to_logs_of_ours),
    **each("worker_processes", one_worker),
    **each("user daemon", left_out),  # given on the command line
}
IN_ITS_PLACE = {**NOT_YET, **ELSEWHERE}


def own_address(number: int) -> str:
    """An address of loopback for each number, to listen on beside the others at the same port."""
    return f"127.0.{1 + number // 200}.{1 + number % 200}:80"


def localise(root: Node, local: Local) -> None:
    """Change a configuration as `IN_ITS_PLACE` says; a server that does not say where it listens has an address of its own."""
    for http in root.named("http"):
        local.upstreams |= {node.arguments[0] for node in http.named("upstream")}
        for number, server in enumerate(http.named("server"), 1):
            if not any(server.named("listen")):
                assert server.children is not None
                server.children.insert(0, Node("listen", (own_address(number),), server.position))
    _localise(root, local)


def _localise(block: Node, local: Local) -> None:
    children: list[Node] = []
    for child in block.children or ():
        if child.children is not None:
            _localise(child, local)
        rule = IN_ITS_PLACE.get(child.name)
        made = rule(child, local) if rule and (child.name != "server" or child.children is None) else [child]
        # Where only a protocol told two listen lines apart, the first stays.
        children += [node for node in made if node.name != "listen" or node.arguments[0] not in _addresses(children)]
    block.children = children


def _addresses(nodes: list[Node]) -> set[str]:
    return {node.arguments[0] for node in nodes if node.name == "listen"}


# What tells where a request ended: a log of ours in each block that a request can end in, with a format that says which it is.


def add_place_logs(root: Node) -> None:
    """Have every server, location, `if` and limit_except log the requests that end there, with the number of its format."""
    for http in root.named("http"):
        assert http.children is not None
        formats: list[Node] = []
        for server in http.named("server"):
            _log_places(server, list(http.named("access_log")), formats)
        http.children[:0] = formats


def _log_places(block: Node, inherited: list[Node], formats: list[Node]) -> None:
    assert block.children is not None
    own = list(block.named("access_log"))
    logs = [node for node in own or inherited if node.arguments != ("off",)]
    name = f"place{len(formats)}"
    written = f"{name}|$http_x_question|$server_name|$status"
    formats.append(Node("log_format", (name, "escape=none", written), block.position))
    mine = Node("access_log", (PLACES_LOG, name), block.position)
    for child in block.children:
        # Nothing is logged in the `if` of a server: it is no location.
        if child.name in ("location", "limit_except") or (child.name == "if" and block.name != "server"):
            _log_places(child, logs, formats)
    block.children = [*(node for node in block.children if node.name != "access_log"), *logs, mine]
