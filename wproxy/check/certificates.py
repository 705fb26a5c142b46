"""Rules about TLS: certificates and keys, and what is told to browsers about it.

The files are read only where they are: with `--offline`, on another machine, the rules about their content are silent.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from wproxy.certificate import DSA, EC, RSA, Certificate, shown_name
from wproxy.check.blocks import PLACES, Block, Blocks
from wproxy.check.certificate_files import Chain
from wproxy.check.finding import ERROR, INFO, WARNING, Found, Rule
from wproxy.config.tree import Node, Position
from wproxy.directives.proxy import proxy_target

HSTS = "strict-transport-security"
# The least sizes of keys that are still considered safe (BSI TR-02102, NIST SP 800-57).
_LEAST_BITS = {RSA: 2048, DSA: 2048, EC: 224}
_DAY = 86400
_SOON = 14 * _DAY


def _is_tls(server: Block) -> bool:
    return any("ssl" in node.arguments[1:] or "quic" in node.arguments[1:] for node in server.own("listen"))


def _chains(blocks: Blocks) -> Iterator[tuple[Node, Chain]]:
    """Yield each directive that names a certificate file of ours, with the certificates in it."""
    for block in blocks.all:
        for node in block.own("ssl_certificate", "proxy_ssl_certificate", "grpc_ssl_certificate", "uwsgi_ssl_certificate"):
            chain = blocks.certificates.chain(node.arguments[0]) if node.arguments else ()
            if chain:
                yield node, chain


def _title(certificate: Certificate) -> str:
    return f'"{certificate.common_name or ", ".join(certificate.all_names) or shown_name(certificate.subject)}"'


# Chains.


def chain_order(blocks: Blocks) -> Iterator[Found]:
    """Find certificates of a chain that do not follow one another."""
    for node, chain in _chains(blocks):
        for first, second in pairwise(chain):
            if first.issuer_der == second.subject_der:
                continue
            issuer = _title_of_issuer(first)
            is_there = any(other.subject_der == first.issuer_der for other in chain if other is not first)
            if is_there and not first.is_self_issued:
                reason = f"{_title(second)} follows {_title(first)} in {node.arguments[0]}, but its issuer is {issuer}"
                fix = "put the server's own certificate first, and after each one that of its issuer"
            else:
                reason = f"{_title(second)} in {node.arguments[0]} has nothing to do with {_title(first)} before it"
                fix = f"take it out, or replace it by the certificate of {issuer}"
            yield Found(node.position, f"the chain is broken: {reason}", fix)
            break


def _title_of_issuer(certificate: Certificate) -> str:
    name = next((value for attribute, value in reversed(certificate.issuer) if attribute == "CN"), "")
    return f'"{name or shown_name(certificate.issuer)}"'


def chain_incomplete(blocks: Blocks) -> Iterator[Found]:
    """Find a certificate of an intermediate authority that is alone."""
    for node, chain in _chains(blocks):
        last = chain[-1]
        # A certificate of a private root needs nothing beside it; it is public authorities that say where an issuer's is.
        if last.is_self_issued or not last.issuer_url or (len(chain) > 1 and last.is_authority):
            continue
        reason = (
            f"{node.arguments[0]} ends with {_title(last)} and lacks the certificate of its issuer {_title_of_issuer(last)}: "
            "browsers that know it by chance accept the connection, programs and telephones refuse it"
        )
        fix = f"append it (it is at {last.issuer_url}), or use the fullchain.pem of the authority's client"
        yield Found(node.position, reason, fix)


def root_in_chain(blocks: Blocks) -> Iterator[Found]:
    """Find a root that is sent with every handshake."""
    for node, chain in _chains(blocks):
        if len(chain) > 1 and chain[-1].is_self_issued and chain[-1].is_authority:
            size = len(chain[-1].der)
            reason = f"the root {_title(chain[-1])} is in {node.arguments[0]}: {size} bytes that are sent for nothing"
            yield Found(node.position, reason, "take it out: a client trusts its own copy of it, or does not trust it")


# Content.


def expiry(blocks: Blocks) -> Iterator[Found]:
    """Find certificates that are not valid now, or will soon not be."""
    now = blocks.certificates.now
    for node, chain in _chains(blocks):
        for certificate in chain:
            days = certificate.days_left(now)
            fix = "renew it" if certificate is chain[0] else "replace the chain by the authority's present one"
            if now >= certificate.not_after:
                reason = f"the certificate {_title(certificate)} has expired {_ago(now - certificate.not_after)}"
                yield Found(node.position, reason, fix)
            elif now < certificate.not_before:
                reason = f"the certificate {_title(certificate)} is not valid yet: it will be {_in(certificate.not_before - now)}"
                yield Found(node.position, reason, "check the clock of this machine, or wait")
            elif certificate.not_after - now < min(_SOON, (certificate.not_after - certificate.not_before) / 4):
                reason = f"the certificate {_title(certificate)} expires {_in(certificate.not_after - now)}"
                yield Found(node.position, reason, f"{fix}, and see why that has not happened by itself", WARNING)
            else:
                assert days >= 0
                continue
            break


def _duration(seconds: float) -> str:
    days = int(seconds // _DAY)
    return f"{days} day{'' if days == 1 else 's'}" if days else f"{max(1, int(seconds // 3600))} h"


def _ago(seconds: float) -> str:
    return f"{_duration(seconds)} ago"


def _in(seconds: float) -> str:
    return f"in {_duration(seconds)}"


def names_not_covered(blocks: Blocks) -> Iterator[Found]:
    """Find names of a server that none of its certificates is for."""
    for server in blocks.servers:
        if not _is_tls(server):
            continue
        nodes = server.effective("ssl_certificate")
        chains = [chain for node in nodes if node.arguments and (chain := blocks.certificates.chain(node.arguments[0]))]
        if not chains or len(chains) < len(nodes):
            continue
        for node in server.own("server_name"):
            # Each kind of key has its own certificate, and a client gets either.
            missing = [name for name in node.arguments if not all(_covers(chain[0], name) for chain in chains)]
            if missing:
                covered = ", ".join(chains[0][0].all_names) or "no name at all"
                reason = (
                    f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in the certificate "
                    f"({nodes[0].arguments[0]}: {covered}): browsers refuse it under such a name"
                )
                yield Found(node.position, reason, "get a certificate for all names, or give them a server of their own")


def _covers(certificate: Certificate, written: str) -> bool:
    """Whether a certificate covers a name as `server_name` has it; those that say nothing definite are covered."""
    if written.startswith("~") or written in ("", "_") or "$" in written or written.endswith(".*") or written == "*":
        return True
    if written.startswith("."):
        return certificate.covers(written[1:]) and certificate.covers(f"*{written}")
    return certificate.covers(written)


def weak_certificates(blocks: Blocks) -> Iterator[Found]:
    """Find keys that are too short, and signatures that can be forged."""
    for node, chain in _chains(blocks):
        for certificate in chain:
            if certificate.bits and certificate.bits < _LEAST_BITS.get(certificate.key, 0):
                reason = (
                    f"the key of {_title(certificate)} is {certificate.shown_key}: clients refuse less than RSA 2048 or P-256"
                )
                yield Found(node.position, reason, "make a new key (EC P-256, or RSA 2048) and have it certified")
                break
            if certificate.weak_hash and not certificate.is_self_issued:
                reason = (
                    f"the signature of {_title(certificate)} uses {certificate.weak_hash}, which can be forged: clients refuse it"
                )
                yield Found(node.position, reason, "have it issued again, with SHA-256")
                break


_BROKEN_CIPHERS = ("NULL", "ENULL", "ANULL", "EXPORT", "EXP", "LOW", "RC4", "DES", "3DES", "DES-CBC3-SHA", "MD5", "ADH", "AECDH",
                   "ALL", "COMPLEMENTOFALL", "COMPLEMENTOFDEFAULT")  # fmt: skip


def weak_ciphers(blocks: Blocks) -> Iterator[Found]:
    """Find lists of ciphers with broken ones in them."""
    for block in blocks.all:
        for node in block.own("ssl_ciphers", "proxy_ssl_ciphers", "grpc_ssl_ciphers", "uwsgi_ssl_ciphers"):
            words = node.arguments[0].replace(",", ":").replace(" ", ":").split(":") if node.arguments else []
            excluded = {word[1:].upper() for word in words if word.startswith("!")}
            broken = [word for word in words if word.lstrip("+").upper() in _BROKEN_CIPHERS and word.upper() not in excluded]
            broken = [word for word in broken if word.upper() != "ALL" or not {"ANULL", "ENULL"} & excluded]
            if broken:
                reason = (
                    f"{', '.join(broken)} in {node.name}: ciphers that are broken, or encrypt nothing, or authenticate nobody"
                )
                yield Found(node.position, reason, f'leave "{node.name}" out, or write "{node.name} HIGH:!aNULL:!MD5;"')


# Upstreams.


# The scheme of a target over TLS, for each module whose words have its name before them.
_SCHEMES = {"proxy": "https://", "grpc": "grpcs://", "uwsgi": "suwsgi://"}


class _Secure(NamedTuple):
    """A target over TLS. module: whose words apply to it. is_group: whether it names an `upstream` block."""

    block: Block
    position: Position | None
    module: str
    host: str
    is_group: bool

    def word(self, name: str) -> str:
        """Return the name of a directive of this module."""
        return f"{self.module}_ssl_{name}"

    def is_on(self, name: str) -> bool:
        """Whether one of its flags is on."""
        return self.block.value(self.word(name), "off").lower() == "on"


def _over_tls(blocks: Blocks) -> Iterator[_Secure]:
    """Find the targets over TLS that are on other machines."""
    for block in blocks.all:
        for module, scheme in _SCHEMES.items():
            if not (block.context & PLACES and block.has(f"{module}_pass")):
                continue
            node = block.own(f"{module}_pass")[-1]
            url = node.arguments[0] if node.arguments else ""
            if not url.lower().startswith(scheme) or "$" in url:
                continue
            try:
                address = proxy_target(f"https://{url[len(scheme) :]}").address
            except ValueError:
                continue  # -t reports it
            host = address.host if address is not None and not address.is_unix else ""
            if host and host not in ("localhost", "::1") and not host.startswith("127."):
                yield _Secure(block, node.position, module, host, host.lower() in blocks.upstreams)


def unverified_upstream(blocks: Blocks) -> Iterator[Found]:
    """Find upstreams that are reached over TLS and may be anybody."""
    for secure in _over_tls(blocks):
        if not secure.is_on("verify"):
            reason = "the upstream's certificate is not verified: whoever can answer in its place reads and changes everything"
            trusted = secure.word("trusted_certificate")
            fix = f'add "{secure.word("verify")} on;" and "{trusted}" with the authority\'s certificate'
            yield Found(secure.position, reason, fix)


def upstream_without_sni(blocks: Blocks) -> Iterator[Found]:
    """Find upstreams with a public name that are not told which name is meant."""
    for secure in _over_tls(blocks):
        is_name = any(letter.isalpha() for letter in secure.host) and ":" not in secure.host and "." in secure.host
        if is_name and not secure.is_group and not secure.is_on("server_name"):
            reason = (
                f"the handshake does not say that {secure.host} is meant: an upstream with several names answers for another one"
            )
            yield Found(secure.position, reason, f'add "{secure.word("server_name")} on;"')


def upstream_verified_by_group_name(blocks: Blocks) -> Iterator[Found]:
    """Find a verification by the name of an upstream block, which no certificate has."""
    for secure in _over_tls(blocks):
        is_named = bool(secure.block.effective(secure.word("name")))
        if secure.is_on("verify") and secure.is_group and not is_named and "." not in secure.host:
            reason = (
                f'the upstream\'s certificate has to be for "{secure.host}", the name of an upstream that only this file knows'
            )
            yield Found(secure.position, reason, f'add "{secure.word("name")}" with the name in the certificate')


# HSTS.


def _hsts(block: Block) -> list[Node]:
    return [node for node in block.effective("add_header") if node.arguments and node.arguments[0].lower() == HSTS]


def hsts_lost(blocks: Blocks) -> Iterator[Found]:
    """Find a block that adds a field and so loses the promise of HTTPS around it."""
    for block in blocks.all:
        own = block.own("add_header")
        outer = _hsts(block.outer) if own and block.outer else []
        if outer and not _hsts(block) and block.value("add_header_inherit", "on").lower() == "on":
            reason = (
                f"{block.title} has add_header of its own and so loses Strict-Transport-Security (from {outer[-1].position}): "
                "a browser that sees only this part of the site keeps trying it in the clear"
            )
            yield Found(own[0].position, reason, 'repeat it here, or set "add_header_inherit merge" here')


def hsts_not_always(blocks: Blocks) -> Iterator[Found]:
    """Find a promise of HTTPS that error pages lack."""
    for block in blocks.all:
        for node in block.own("add_header"):
            if len(node.arguments) == 2 and node.arguments[0].lower() == HSTS:
                reason = "Strict-Transport-Security is only added to 2xx and 3xx answers, and a first visit may end with another"
                yield Found(node.position, reason, 'write "always" at its end')


def _server(lines: str, name: str = "example.com") -> str:
    return f"server {{\n    listen 8443 ssl;\n    server_name {name};\n{lines}\n}}"


def _pair(name: str) -> str:
    return f"    ssl_certificate {name}.pem;\n    ssl_certificate_key example.key;"


_GOOD = _server(_pair("example"))
_HSTS_LINE = 'add_header Strict-Transport-Security "max-age=31536000" always;\n'
_UPSTREAM = "location / {{\n    proxy_set_header Host $host;\n    proxy_pass https://{};\n{}}}"
_VERIFIED = "    proxy_ssl_server_name on;\n    proxy_ssl_verify on;\n    proxy_ssl_trusted_certificate root.pem;\n"

CERTIFICATE_RULES = [
    Rule(
        "certificate-expired",
        ERROR,
        "a certificate that has expired, or soon will (a warning then)",
        "Clients refuse it, and under HSTS leave their users no way on. Authorities' clients renew long before; a certificate "
        "with less than 14 days (or a quarter of its life) left shows that this no longer works.",
        expiry,
        _server(_pair("expired")),
        _GOOD,
        "http",
    ),
    Rule(
        "certificate-name",
        WARNING,
        "a server_name that the certificate is not for",
        "Clients compare the name in the URL with those in the certificate. A wildcard covers one label: `*.example.com` is "
        "neither `example.com` nor `a.b.example.com`. Regexes, `_` and `www.example.*` are not checked.",
        names_not_covered,
        _server(_pair("example"), "example.com shop.example.net"),
        _GOOD,
        "http",
    ),
    Rule(
        "certificate-chain-order",
        WARNING,
        "certificates in the wrong order, or of another chain",
        "ssl_certificate has the server's own certificate first, then that of its issuer, and so on. Many clients build the "
        "chain in that order only.",
        chain_order,
        _server(_pair("disordered")),
        _GOOD,
        "http",
    ),
    Rule(
        "certificate-chain-incomplete",
        WARNING,
        "a chain without the certificate of an intermediate authority",
        "Clients know roots; what is between a root and the server has to be sent. Browsers fetch or remember it, so the fault "
        "shows only with other clients.",
        chain_incomplete,
        _server(_pair("alone")),
        _GOOD,
        "http",
    ),
    Rule(
        "certificate-root-sent",
        INFO,
        "a root in the chain",
        "A client that does not know a root does not trust it because it was sent.",
        root_in_chain,
        _server(_pair("with-root")),
        _GOOD,
        "http",
    ),
    Rule(
        "certificate-weak",
        WARNING,
        "a short key, or a signature with a broken hash",
        "RSA of 1024 bits and SHA-1 can be broken by those who want to; OpenSSL and browsers refuse them.",
        weak_certificates,
        _server(_pair("weak")),
        _GOOD,
        "http",
    ),
    Rule(
        "weak-ciphers",
        WARNING,
        "broken ciphers",
        "A list copied from an old page may ask for RC4, DES or no encryption at all. The default (HIGH:!aNULL:!MD5) does not.",
        weak_ciphers,
        "ssl_ciphers HIGH:RC4:!aNULL;",
        "ssl_ciphers HIGH:!aNULL:!MD5:!RC4;",
    ),
    Rule(
        "hsts-lost",
        WARNING,
        "an add_header that loses Strict-Transport-Security",
        "add_header is inherited as a whole list, and only by blocks that have none of their own.",
        hsts_lost,
        f'{_HSTS_LINE}location /a/ {{\n    add_header Cache-Control "no-store";\n}}',
        f'{_HSTS_LINE}location /a/ {{\n    {_HSTS_LINE}    add_header Cache-Control "no-store";\n}}',
    ),
    Rule(
        "hsts-not-always",
        INFO,
        "Strict-Transport-Security without `always`",
        "Without it an add_header is for answers of status 200, 201, 204, 206 and 3xx.",
        hsts_not_always,
        'add_header Strict-Transport-Security "max-age=31536000";',
        _HSTS_LINE,
    ),
    Rule(
        "upstream-not-verified",
        INFO,
        "an upstream over TLS whose certificate is not verified",
        "proxy_ssl_verify is off by default, as in nginx, and so are grpc_ssl_verify and uwsgi_ssl_verify: the connection is "
        "encrypted, but to whoever answers. Upstreams on this machine are not reported.",
        unverified_upstream,
        _UPSTREAM.format("192.0.2.7", ""),
        _UPSTREAM.format("192.0.2.7", _VERIFIED),
    ),
    Rule(
        "upstream-without-sni",
        INFO,
        "an upstream over TLS that is not told its name",
        "proxy_ssl_server_name is off by default, as in nginx, and so are those of grpc and uwsgi. Most public servers and all "
        "content delivery networks choose the certificate, or refuse the handshake, by the name in it.",
        upstream_without_sni,
        _UPSTREAM.format("api.example.com", ""),
        _UPSTREAM.format("api.example.com", _VERIFIED),
    ),
    Rule(
        "upstream-verified-by-group",
        WARNING,
        "an upstream's certificate is compared with the name of the upstream block",
        "The name that has to be in the certificate is the host of proxy_pass unless proxy_ssl_name gives another one.",
        upstream_verified_by_group_name,
        "upstream app {\n    server 192.0.2.7:443;\n}\nserver {\n    listen 8080;\n" + _UPSTREAM.format("app", _VERIFIED) + "\n}",
        "upstream app {\n    server 192.0.2.7:443;\n}\nserver {\n    listen 8080;\n"
        + _UPSTREAM.format("app", f"{_VERIFIED}    proxy_ssl_name app.example.com;\n")
        + "\n}",
        "http",
    ),
]
