"""Rules about the fields sent to the upstream and to the client."""

from __future__ import annotations

from collections.abc import Iterator

from wproxy.address import parse_address
from wproxy.check.blocks import Block, Blocks, Proxied, variables_in
from wproxy.check.certificates import HSTS
from wproxy.check.finding import INFO, WARNING, Found, Rule
from wproxy.check.flow import Origin, is_guarded, origins_in
from wproxy.check.servers import other_ports
from wproxy.config.tree import Node

# Lists that an inner block replaces as a whole, with the directive that must apply at the place for them to matter; None: any.
REQUEST_LISTS = {
    "proxy_set_header": "proxy_pass",
    "grpc_set_header": "grpc_pass",
    "fastcgi_param": "fastcgi_pass",
    "uwsgi_param": "uwsgi_pass",
    "scgi_param": "scgi_pass",
    "proxy_hide_header": "proxy_pass",
}
RESPONSE_LISTS = {"add_header": "add_header_inherit", "add_trailer": "add_trailer_inherit"}


def _names(nodes: list[Node]) -> dict[str, str]:
    """Return the names in a list, as spelled, keyed by their lower case."""
    return {node.arguments[0].lower(): node.arguments[0] for node in nodes if node.arguments}


def _lost(block: Block, name: str) -> tuple[Node, list[Node], list[str]] | None:
    """Return (the first of its own, the outer list, the lost names) when a block replaces a list; None without a loss."""
    own = block.own(name)
    outer = block.outer.effective(name) if own and block.outer else []
    mine = _names(own)
    missing = [spelled for lower, spelled in _names(outer).items() if lower not in mine]
    return (own[0], outer, missing) if missing else None


def request_fields_lost(blocks: Blocks) -> Iterator[Found]:
    """Find a block that sets one field for the upstream and loses all those around it."""
    for name, needed in REQUEST_LISTS.items():
        for block in blocks.all:
            lost = _lost(block, name)
            if lost and any(one.has(needed) for one in block.inside()):
                yield _lost_found(block, name, lost, "")


def added_fields_lost(blocks: Blocks) -> Iterator[Found]:
    """Find a block that adds one field to responses and loses all those around it."""
    for name, switch in RESPONSE_LISTS.items():
        for block in blocks.all:
            lost = _lost(block, name)
            if lost and name == "add_header":
                # Strict-Transport-Security has a rule of its own.
                lost = (*lost[:2], [spelled for spelled in lost[2] if spelled.lower() != HSTS])
            if lost and lost[2] and block.value(switch, "on").lower() == "on":
                yield _lost_found(block, name, lost, f', or set "{switch} merge" here')


def _lost_found(block: Block, name: str, lost: tuple[Node, list[Node], list[str]], otherwise: str) -> Found:
    first, outer, missing = lost
    reason = (
        f"{block.title} has {name} of its own and so inherits none from outside: {', '.join(missing)} "
        f"(from {outer[0].position}) {'is' if len(missing) == 1 else 'are'} lost here"
    )
    return Found(first.position, reason, f"repeat {'it' if len(missing) == 1 else 'them'} here{otherwise}")


def _is_for_people(proxied: Proxied) -> bool:
    """Whether the default Host, the authority of proxy_pass, would be news to the application."""
    if proxied.has_variables or proxied.target is None:
        return False
    if not proxied.host:
        return True  # a unix socket: Host is "localhost"
    address = parse_address(proxied.host, 80) if ":" not in proxied.host else None
    return address is None or address.is_numeric or "." not in proxied.host


def _sends_nothing_of_the_client(proxied: Proxied) -> bool:
    """Whether a request is made by the proxy itself and deliberately contains nothing of the client's."""
    return proxied.block.value("proxy_pass_request_headers") == "off"


def _host_fix(block: Block) -> str:
    """Return the right value for Host: with the port where clients see one."""
    return "$http_host" if other_ports(block) else "$host"


def upstream_name_as_host(blocks: Blocks) -> Iterator[Found]:
    """Find an application that gets the name of the upstream block as its host."""
    for proxied in blocks.proxied:
        if proxied.upstream is not None and proxied.block.request_field("Host") is None:
            reason = (
                f'no Host is set: the application gets "Host: {proxied.host}", the name of an upstream that only this file knows'
            )
            yield Found(proxied.node.position, reason, f'add "proxy_set_header Host {_host_fix(proxied.block)};"')


def missing_host(blocks: Blocks) -> Iterator[Found]:
    """Find an application that gets the address in proxy_pass as its host."""
    for proxied in blocks.proxied:
        if proxied.upstream is not None or proxied.block.request_field("Host") is not None:
            continue
        if _is_for_people(proxied) and not _sends_nothing_of_the_client(proxied):
            reason = (
                "no Host is set: the application gets the address in proxy_pass as its Host and cannot tell which name the "
                "client asked for"
            )
            yield Found(proxied.node.position, reason, f'add "proxy_set_header Host {_host_fix(proxied.block)};"')


_FORWARDED = {
    "X-Forwarded-For": ("x-forwarded-for", "x-real-ip", "forwarded", "x-client-ip", "x-original-forwarded-for"),
    "X-Forwarded-Proto": ("x-forwarded-proto", "x-forwarded-ssl", "x-forwarded-scheme", "x-scheme", "x-url-scheme", "forwarded"),
}
_FORWARDED_VALUES = {"X-Forwarded-For": "$remote_addr", "X-Forwarded-Proto": "$scheme"}


def missing_forwarded(blocks: Blocks) -> Iterator[Found]:
    """Find an application that cannot know the client's address or scheme."""
    for proxied in blocks.proxied:
        is_foreign = proxied.upstream is None and bool(proxied.host) and not _is_for_people(proxied)
        if is_foreign or _sends_nothing_of_the_client(proxied):
            continue
        given = _names(proxied.block.effective("proxy_set_header"))
        missing = [name for name, others in _FORWARDED.items() if not given.keys() & set(others)]
        if missing:
            reason = (
                f"the application is not told {' and '.join(missing)}: it takes the address and scheme of this connection "
                "for the client's, and a client may send the fields itself"
            )
            fix = "add " + " and ".join(f'"proxy_set_header {name} {_FORWARDED_VALUES[name]};"' for name in missing)
            yield Found(proxied.node.position, reason, fix)


def forwarded_for_appended(blocks: Blocks) -> Iterator[Found]:
    """Find an X-Forwarded-For that passes on a client's claim."""
    seen: set[int] = set()
    for proxied in blocks.proxied:
        node = proxied.block.request_field("X-Forwarded-For")
        if node is None or id(node) in seen or proxied.block.effective("set_real_ip_from"):
            continue
        if "proxy_add_x_forwarded_for" not in variables_in(node.arguments[1]):
            continue
        seen.add(id(node))
        reason = (
            "$proxy_add_x_forwarded_for appends to the client's field, and no set_real_ip_from says which proxies to trust: "
            "everything but the last address may be made up"
        )
        fix = (
            'where clients connect directly, write "$remote_addr"; behind a balancer add set_real_ip_from and real_ip_header; '
            "make the application read from the right"
        )
        yield Found(node.position, reason, fix)


def host_spoofing(blocks: Blocks) -> Iterator[Found]:
    """Find a Host that is taken from the client's request, unchecked."""
    seen: set[int] = set()
    for proxied in blocks.proxied:
        block, node = proxied.block, proxied.block.request_field("Host")
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        found = [one for one in origins_in(blocks, block, node.arguments[1]) if one.name.startswith(("http_", "arg_", "cookie_"))]
        wild = next((one for one in found if one.name != "http_host" or not other_ports(block)), None)
        if wild is not None:
            reason = (
                f"Host is set to ${wild.name}{wild.by}, which the client writes: it need not be the name by which the server was "
                "found (a request for http://a/ may have Host: b), nor be in lower case"
            )
            yield Found(node.position, reason, f'write "proxy_set_header Host {_host_fix(block)};"')


# Other fields that tell applications the port.
_WITH_PORT = ("X-Forwarded-Port", "X-Forwarded-Host", "Forwarded")


def host_without_port(blocks: Blocks) -> Iterator[Found]:
    """Find an application that gets the name that the client asked for without the port."""
    seen: set[int] = set()
    for proxied in blocks.proxied:
        block, node = proxied.block, proxied.block.request_field("Host")
        if node is None or id(node) in seen or node.arguments[1] not in ("$host", "${host}", "$server_name", "${server_name}"):
            continue
        ports = other_ports(block)
        if not ports or any(block.request_field(name) is not None for name in _WITH_PORT):
            continue
        seen.add(id(node))
        reason = (
            f"{node.arguments[1]} has no port, and this server listens on {' and '.join(map(str, ports[:3]))}: if clients "
            "see that port, applications that compare Origin with Host refuse the POSTs of browsers (Django 403, Rails 422, "
            "Next.js 500), and links lose it"
        )
        yield Found(node.position, reason, 'write "proxy_set_header Host $http_host;"')


def reflected_origin(blocks: Blocks) -> Iterator[Found]:
    """Find answers that every page may read with its visitors' cookies."""
    for block in blocks.all:
        fields = {node.arguments[0].lower(): node for node in block.effective("add_header") if len(node.arguments) >= 2}
        allowed, credentials = (fields.get(f"access-control-allow-{word}") for word in ("origin", "credentials"))
        if allowed is None or credentials is None or credentials.arguments[1].lower() != "true":
            continue
        if allowed not in block.own("add_header") and credentials not in block.own("add_header"):
            continue  # reported at their own place
        reflected = next((one for one in origins_in(blocks, block, allowed.arguments[1]) if _is_reflected(blocks, one)), None)
        if reflected is not None:
            reason = (
                f"Access-Control-Allow-Origin is whatever Origin a page sends{reflected.by}, with credentials: any page can read "
                "these answers in the name of its visitor"
            )
            yield Found(
                allowed.position, reason, 'choose by "map $http_origin $allowed_origin" with the origins that may, else ""'
            )


def _is_reflected(blocks: Blocks, origin: Origin) -> bool:
    return origin.name == "http_origin" and not is_guarded(blocks, origin, "http_origin")


def field_with_line_break(blocks: Blocks) -> Iterator[Found]:
    """Find a value of a field that goes over several lines."""
    for block in blocks.all:
        for node in block.own("add_header", "add_trailer", "proxy_set_header", "more_set_headers"):
            if any("\n" in argument or "\r" in argument for argument in node.arguments[1:]):
                reason = f"the value of {node.arguments[0]} has a line break: clients refuse such a header or read half of it"
                yield Found(node.position, reason, "write the value on one line")


_SET_BEFORE = (
    "proxy_set_header Host $host;\nproxy_set_header X-Forwarded-For $remote_addr;\nproxy_set_header X-Forwarded-Proto $scheme;\n"
)

_ON_80 = (
    "server {{\n    listen 80;\n    location / {{\n        proxy_set_header Host {};\n        proxy_pass http://127.0.0.1:3000;\n"
    "    }}\n}}"
)
_CORS = (
    "server {{\n    listen 80;\n    location /api/ {{\n        add_header Access-Control-Allow-Origin {};\n"
    "        add_header Access-Control-Allow-Credentials true;\n    }}\n}}"
)
_ORIGINS = 'map $http_origin $allowed_origin {\n    https://app.example.com $http_origin;\n    default "";\n}\n' + _CORS.format(
    "$allowed_origin"
)

HEADER_RULES = [
    Rule(
        "proxy-set-header-lost",
        WARNING,
        "fields for the upstream are lost by inheritance",
        "proxy_set_header, proxy_hide_header, grpc_set_header and the *_param directives are inherited as a whole list, "
        "and only by blocks that have none of their own. One line in a location takes all those of the server away.",
        request_fields_lost,
        _SET_BEFORE + 'location / {\n    proxy_set_header Connection "";\n    proxy_pass http://127.0.0.1:3000;\n}',
        _SET_BEFORE + 'proxy_set_header Connection "";\nlocation / {\n    proxy_pass http://127.0.0.1:3000;\n}',
    ),
    Rule(
        "add-header-lost",
        WARNING,
        "fields for the client are lost by inheritance",
        "add_header is inherited as a whole list, and only by blocks that have none of their own. One Cache-Control in a "
        "location takes away the X-Frame-Options of the server. An `if` in a location is such a block too.",
        added_fields_lost,
        'add_header X-Frame-Options DENY;\nlocation /a/ {\n    add_header Cache-Control "no-store";\n}',
        "add_header X-Frame-Options DENY;\nlocation /a/ {\n    add_header X-Frame-Options DENY;\n"
        '    add_header Cache-Control "no-store";\n}',
    ),
    Rule(
        "upstream-name-as-host",
        WARNING,
        "the application gets the name of the upstream block as Host",
        "Without proxy_set_header Host the upstream gets $proxy_host, which for a group is the group's name. Applications build "
        "links and redirects from it, and many refuse it.",
        upstream_name_as_host,
        "upstream app {\n    server 127.0.0.1:3000;\n}\nserver {\n    listen 8080;\n    location / {\n"
        "        proxy_pass http://app;\n    }\n}",
        "upstream app {\n    server 127.0.0.1:3000;\n}\nserver {\n    listen 8080;\n    location / {\n"
        "        proxy_set_header Host $host;\n        proxy_pass http://app;\n    }\n}",
        "http",
    ),
    Rule(
        "missing-host",
        INFO,
        "the application gets the address of proxy_pass as Host",
        "Without proxy_set_header Host the upstream gets the authority of proxy_pass, so the application cannot tell which "
        "name the client asked for. For an upstream with a public name of its own that is right, and not reported.",
        missing_host,
        "location / {\n    proxy_pass http://127.0.0.1:3000;\n}",
        "location / {\n    proxy_set_header Host $host;\n    proxy_pass http://127.0.0.1:3000;\n}",
    ),
    Rule(
        "missing-forwarded-headers",
        INFO,
        "the application is not told the client's address or scheme",
        "The upstream sees a connection from the proxy. Without X-Forwarded-For (or X-Real-IP) and X-Forwarded-Proto its "
        "logs, its limits and its links are about the proxy; and since clients' own fields pass, a client can make them up.",
        missing_forwarded,
        "location / {\n    proxy_set_header Host $host;\n    proxy_pass http://127.0.0.1:3000;\n}",
        "location / {\n    proxy_set_header Host $host;\n    proxy_set_header X-Forwarded-For $remote_addr;\n"
        "    proxy_set_header X-Forwarded-Proto $scheme;\n    proxy_pass http://127.0.0.1:3000;\n}",
    ),
    Rule(
        "forwarded-for-appended",
        INFO,
        "X-Forwarded-For is appended at an edge that trusts everyone",
        "$proxy_add_x_forwarded_for keeps the incoming list. At an edge that faces clients the left of the list is whatever the "
        "client wrote; only the right-most address that is not a proxy of yours can be trusted.",
        forwarded_for_appended,
        "location / {\n    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    proxy_pass http://127.0.0.1:3000;\n}",
        "location / {\n    proxy_set_header X-Forwarded-For $remote_addr;\n    proxy_pass http://127.0.0.1:3000;\n}",
    ),
    Rule(
        "host-spoofing",
        INFO,
        "Host is passed on as the client wrote it",
        "$http_host is the raw field; $host is the name that the server was chosen by, in lower case and without a port. "
        "They differ for absolute request targets, so an application can be made to build links to a foreign name. On a port "
        "other than 80 (or 443 with TLS) $http_host is right, because $host would lose the port, and is not reported.",
        host_spoofing,
        _ON_80.format("$http_host"),
        _ON_80.format("$host"),
        "http",
    ),
    Rule(
        "host-without-port",
        INFO,
        "Host loses its port on the way",
        "$host has no port. Browsers put the port into Origin, and frameworks compare it with Host before they accept a POST: "
        "Django answers 403, Rails 422, Next.js 500. $http_host has the port. If another balancer on port 80 or 443 is "
        "in front, clients see no port, and this does not apply; nor does it when X-Forwarded-Host or X-Forwarded-Port is "
        "set.",
        host_without_port,
        "location / {\n    proxy_set_header Host $host;\n    proxy_pass http://127.0.0.1:3000;\n}",
        "location / {\n    proxy_set_header Host $http_host;\n    proxy_pass http://127.0.0.1:3000;\n}",
    ),
    Rule(
        "reflected-origin",
        WARNING,
        "every origin may read answers, with credentials",
        "Access-Control-Allow-Credentials does not work with `*`, and $http_origin in its place lets every page on the web "
        "read this server's answers with its visitors' cookies. Only origins from a list should be repeated.",
        reflected_origin,
        _CORS.format("$http_origin"),
        _ORIGINS,
        "http",
    ),
    Rule(
        "header-line-break",
        WARNING,
        "a field value goes over several lines",
        "Folding of header lines is gone from HTTP (RFC 9112 §5.2): HTTP/2 cannot carry it and many clients take the "
        "second line for another field.",
        field_with_line_break,
        "add_header Content-Security-Policy \"default-src 'self';\n  img-src *\";",
        "add_header Content-Security-Policy \"default-src 'self'; img-src *\";",
    ),
]
