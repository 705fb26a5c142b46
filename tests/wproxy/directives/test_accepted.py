"""The directives that are accepted without effect: nginx's own contexts and arity, with crossplane's tables as the oracle."""

from __future__ import annotations

import inspect
import re

import pytest
from crossplane import analyzer

from wproxy.config import model, registry
from wproxy.config.registry import REGISTRY, SCALAR, Directive, register_accepted
from wproxy.directives import accepted
from wproxy.directives.accepted import ACCEPTED, HARMLESS, IDLE

CONTEXTS = {
    analyzer.NGX_MAIN_CONF: registry.MAIN,
    analyzer.NGX_EVENT_CONF: registry.EVENTS,
    analyzer.NGX_HTTP_MAIN_CONF: registry.HTTP,
    analyzer.NGX_HTTP_UPS_CONF: registry.UPSTREAM,
    analyzer.NGX_HTTP_SRV_CONF: registry.SERVER,
    analyzer.NGX_HTTP_LOC_CONF: registry.LOCATION,
    analyzer.NGX_HTTP_SIF_CONF: registry.SERVER_IF,
    analyzer.NGX_HTTP_LIF_CONF: registry.LOCATION_IF,
    analyzer.NGX_HTTP_LMT_CONF: registry.LIMIT_EXCEPT,
}
EVERY_CONTEXT = sum(CONTEXTS)
COUNTS = range(8)  # numbers of arguments that crossplane tells apart

# What nginx calls commercial stands behind this line in crossplane's source, and some of it has become free since.
_SOURCE = inspect.getsource(analyzer)
COMMERCIAL = set(re.findall(r"^    '(\w+)': \[", _SOURCE[_SOURCE.index("# nginx+ directives") :], re.MULTILINE))
FREE_SINCE = {"sticky", "least_time"}
# Commercial in nginx, and carried out here.
FREE_HERE = {"api", "health_check", "match", "queue", "state", "status", "status_zone"}
FREE_HERE |= {
    f"auth_jwt{word}" for word in ("", "_claim_set", "_header_set", "_key_cache", "_key_file", "_leeway", "_require", "_type")
}
FREE_HERE |= {f"{module}_cache_purge" for module in ("proxy", "fastcgi", "uwsgi", "scgi")}

# Left out on purpose, with the reason.
LEFT_OUT = {
    "ssl": "gone since nginx 1.25.1, for `listen ... ssl`",
    "include": "the parser's own: it never becomes a directive of the tree",
    "spdy_chunk_size": "gone from nginx with SPDY itself",
    "spdy_headers_comp": "gone from nginx with SPDY itself",
}
# Where we follow the nginx that runs rather than crossplane.
DIFFERENT = {
    "limit_conn_zone": "a third argument is `sync=`",
    "keepalive": "nginx 1.29.7 has the second argument `local`",
    "sticky": "nginx 1.29.6 wants two arguments at least",
    "resolver": "nginx 1.27.3 has it in upstream too",
    "resolver_timeout": "nginx 1.27.3 has it in upstream too",
}
# Carried out by other tables; those that are still on their way. Empty when the session that writes them is over.
PENDING: frozenset[str] = frozenset(["access_log", "error_log", "geo", "map", "split_clients"])

ROWS = [(name, row) for name, rows in ACCEPTED.items() for row in rows]


def may_have(mask: int, count: int) -> bool:
    """Whether crossplane's bits allow this number of arguments."""
    least = {analyzer.NGX_CONF_ANY: 0, analyzer.NGX_CONF_1MORE: 1, analyzer.NGX_CONF_2MORE: 2}
    if any(mask & style and count >= fewest for style, fewest in least.items()):
        return True
    return count == 1 if mask & analyzer.NGX_CONF_FLAG else bool(mask >> count & 1)


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Directive]]:
    """The registry as the program has it, with the accepted rows wherever they are entered."""
    found = {name: list(entered) for name, entered in REGISTRY.items()}
    for name, more in ACCEPTED.items():
        present = found.setdefault(name, [])
        present += [row for row in more if row not in present]
    return found


OPEN_SOURCE = [
    name
    for name, masks in analyzer.DIRECTIVES.items()
    if (name not in COMMERCIAL or name in FREE_SINCE) and name not in LEFT_OUT and any(mask & EVERY_CONTEXT for mask in masks)
]


def test_crossplane_has_a_table_worth_comparing():
    assert model.Location, "the model enters the rows that are carried out"
    assert len(OPEN_SOURCE) > 500
    assert len(COMMERCIAL) > 50


@pytest.mark.parametrize("name", OPEN_SOURCE)
def test_a_directive_of_nginx_stands_where_nginx_has_it_with_as_many_arguments(name, rows):
    if name in PENDING and name not in rows:
        pytest.skip("on its way")
    assert name in rows, f"{name} is not known"
    if name in PENDING or name in DIFFERENT:
        return
    for mask in analyzer.DIRECTIVES[name]:
        for theirs, ours in CONTEXTS.items():
            if not mask & theirs:
                continue
            row = next((row for row in rows[name] if row.contexts & ours), None)
            assert row, f"{name} is not allowed in {registry.context_names(ours)}"
            assert [count for count in COUNTS if row.accepts(count)] == [count for count in COUNTS if may_have(mask, count)]
            assert bool(row.block) == bool(mask & analyzer.NGX_CONF_BLOCK)
    allowed = sum(ours for theirs, ours in CONTEXTS.items() if any(mask & theirs for mask in analyzer.DIRECTIVES[name]))
    assert sum(row.contexts for row in rows[name]) == allowed


def test_what_is_commercial_stays_unknown(rows):
    assert not (COMMERCIAL - FREE_SINCE - FREE_HERE) & set(rows)
    for name in ("auth_jwt_key_request", "keyval", "ntlm"):
        assert name not in rows


@pytest.mark.parametrize(
    "name",
    [
        "http2",
        "http3",
        "quic_retry",
        "max_headers",
        "keepalive_min_timeout",
        "client_body_early_read",
        "early_hints",
        "ssl_certificate_compression",
        "proxy_cookie_flags",
        "proxy_pass_trailers",
        "mp4_start_key_frame",
        "auth_delay",
        "tunnel_pass",
        "userid_flags",
        "uwsgi_string",
    ],
)
def test_what_nginx_learnt_after_crossplane_is_known_too(name, rows):
    assert name not in analyzer.DIRECTIVES
    assert name in rows


# The rows themselves


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_a_row_makes_sense(name, row):
    assert re.fullmatch(r"[a-z0-9_]+", name)
    assert row.contexts
    assert row.arity[0] <= row.arity[1]
    assert row.doc.endswith(".") and "\n" not in row.doc and row.doc[0].isupper()
    assert not (row.guards and row.effective), "a guard is what does nothing and must"
    if row.named:
        assert row.repeats and row.arity[0] >= 1
    if row.block:
        assert row.read([]) is None
        assert row.inherit != SCALAR


def test_no_directive_is_accepted_twice_in_one_context():
    for name, found in ACCEPTED.items():
        contexts = [row.contexts for row in found]
        assert all(not one & other for index, one in enumerate(contexts) for other in contexts[:index]), name


def test_what_asks_for_nothing_is_a_value_that_the_directive_can_have():
    for name, words in IDLE.items():
        for row in ACCEPTED[name]:
            assert row.accepts(1)
            for word in words:
                row.read(word)


def test_what_is_passed_over_in_silence_guards_nothing():
    assert HARMLESS
    assert not any(row.guards for name in HARMLESS for row in ACCEPTED[name])


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("tunnel_connect_timeout", ["fast"], '"%s" directive invalid value'),
        ("output_buffers", ["0", "4k"], '"%s" directive invalid value'),
    ],
)
def test_a_plain_value_is_read_as_nginx_reads_it(name, arguments, text):
    with pytest.raises(ValueError) as caught:
        ACCEPTED[name][0].read(*arguments)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("gzip_buffers", ["16", "8k"], (16, 8192)),
    ],
)
def test_a_value_is_kept_as_what_it_is(name, arguments, value):
    row = ACCEPTED[name][0]
    assert row.accepts(len(arguments))
    assert row.read(*arguments) == value


def test_the_rows_are_entered_once_and_not_beside_an_effective_one(monkeypatch):
    monkeypatch.setattr(registry, "REGISTRY", {})
    register_accepted(accepted._rows())
    entities = registry.find_directive("xml_entities", registry.HTTP)
    assert entities and not entities.effective
    with pytest.raises(AssertionError, match="two rows for lock_file in one context"):
        register_accepted(accepted._rows())
