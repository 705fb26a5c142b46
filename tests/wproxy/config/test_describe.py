"""The generated pages are current, and what they show can be written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomli

from tests.every import for_every
from wproxy.address import Address
from wproxy.config import describe
from wproxy.config.describe import HEADERS, directives_page, documents, example, json_schema, nginx_example, sections
from wproxy.config.load import load_text
from wproxy.config.nginx import parse_nginx
from wproxy.config.registry import (
    CONTEXT_NAMES,
    ENTRIES,
    EXPORTER,
    HTTP,
    LIMIT_EXCEPT,
    LOCATION,
    LOCATION_IF,
    REGISTRY,
    SERVER,
    SERVER_IF,
    UPSTREAM,
    Directive,
    find_directive,
)
from wproxy.directives.accepted import ACCEPTED
from wproxy.quick import quick_configuration

HOUSE = Path(__file__).parents[3]
ROWS = [row for rows in REGISTRY.values() for row in rows]
MERELY_ACCEPTED = {id(row) for rows in ACCEPTED.values() for row in rows}
CARRIED_OUT = [row for row in ROWS if id(row) not in MERELY_ACCEPTED]
SCHEMA = json_schema()


@pytest.mark.parametrize("name", documents())
def test_the_page_under_docs_is_the_one_that_would_be_written(name):
    assert (HOUSE / "docs" / name).read_text("utf-8") == documents()[name], "run python -m wproxy.config.describe"


def test_writing_the_pages_says_which(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(describe, "DOCS", str(tmp_path))
    assert describe.main() == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in documents()]
    assert (tmp_path / "directives.md").read_text("utf-8") == directives_page()
    assert json.loads((tmp_path / "wproxy.schema.json").read_text("utf-8")) == SCHEMA


# The page


def test_every_row_has_its_place_on_the_page():
    listed = [row for _, rows in sections() for row in rows]
    assert sorted(map(id, listed)) == sorted(map(id, CARRIED_OUT))
    page = directives_page()
    assert all(f"### {row.name}\n\n{row.doc}\n" in page for row in CARRIED_OUT)
    assert all(f"\n| {name} | " in page for name in ACCEPTED)


def test_an_example_is_shown_in_both_syntaxes():
    row = find_directive("proxy_set_header", HTTP)
    assert nginx_example(row) == "proxy_set_header Host $host;\nproxy_set_header X-Real-IP $remote_addr;\n"
    page = directives_page()
    assert all(f"```toml\n{example(row)}\n```\n\n```nginx\n{nginx_example(row)}```\n" in page for row in CARRIED_OUT)


@for_every(CARRIED_OUT, called=lambda row: row.name)
def test_an_example_in_nginx_syntax_is_that_directive(row):
    nodes = parse_nginx(nginx_example(row).encode(), "f").children
    assert nodes
    assert {node.name for node in nodes} == {row.name}
    assert all(row.accepts(len(node.arguments)) for node in nodes)


def test_rows_of_one_name_are_shown_by_the_module_they_are_in():
    found = {module.__name__.rpartition(".")[2]: rows for module, rows in sections()}
    assert find_directive("server", HTTP) in found["http_core"]
    assert find_directive("server", UPSTREAM) in found["upstream"]
    assert find_directive("keepalive_timeout", UPSTREAM) in found["upstream"]
    assert all(row.contexts == UPSTREAM for row in found["upstream"])


def test_every_example_is_for_a_row_that_there_is():
    assert {key.partition(" in ")[0] for key in describe.EXAMPLES} <= set(REGISTRY)


def zone_for(row: Directive) -> str:
    """The zone that the example of a row uses."""
    made = find_directive(f"{row.name}_zone", HTTP)
    return f"[http]\n{example(made)}\n" if made and row.name.startswith("limit_") else ""


def wproxy_toml_with(row: Directive, context: int) -> str:
    """A whole file with the example of a row in one of its contexts."""
    inside = row.block or context
    text = example(row) if row.block else f"{HEADERS[context]}\n{example(row)}"
    if inside == UPSTREAM and row.name not in ("server", "state"):
        text += "\nserver = '10.0.0.1'"
    if context == EXPORTER and row.name != "endpoint":
        text += "\nendpoint = '127.0.0.1:4317'"
    if row.name == "protocol":
        text = text.replace("4317'", "4318/v1/traces'")
    if row.name == "health_check":
        text += "\nproxy_pass = 'http://10.0.0.1'"
    if row.name == "memcached_pass":
        text += '\nset = ["$memcached_key", "$uri"]'
    if inside in (SERVER, SERVER_IF):
        return f"{zone_for(row)}{text}"
    if zone_for(row):
        text = text.replace("[http]\n", zone_for(row)) if inside == HTTP else f"{zone_for(row)}[[http.server]]\n{text}"
        return text + ("\n[[http.server]]" if inside == HTTP else "")
    in_location = inside & (LOCATION | LOCATION_IF | LIMIT_EXCEPT)
    return f"[[http.server]]\n{text}" if in_location else f"{text}\n[[http.server]]"


PLACES = [(row, context) for row in CARRIED_OUT for context in CONTEXT_NAMES if row.contexts & context]


@for_every(PLACES, called=lambda place: f"{place[0].name} in {CONTEXT_NAMES[place[1]]}")
def test_an_example_can_be_written_wherever_the_row_may_stand(place):
    row, context = place
    text = wproxy_toml_with(row, context)
    if row.name == "ssl_certificate":
        text = text.replace("ssl_certificate =", 'ssl_certificate_key = "key.pem"\nssl_certificate =')  # neither is of use alone
    load_text(text.encode(), "wproxy.toml", "/", lambda host, port: [Address("192.0.2.80", port)])
    assert mistakes(tomli.loads(text)) == []


# The schema


def mistakes(value: Any, schema: dict[str, Any] = SCHEMA, path: str = "") -> list[str]:
    """What JSON Schema would say, as far as ours uses it."""
    known = {"$schema", "$defs", "$ref", "title", "description", "default", "type", "properties", "additionalProperties"}
    assert set(schema) <= known | {"anyOf", "items", "minItems", "maxItems", "enum"}, "a word that is not checked here"
    if "$ref" in schema:
        return mistakes(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], path)
    if "anyOf" in schema:
        found = [mistakes(value, one, path) for one in schema["anyOf"]]
        return [] if [] in found else min(found, key=len)
    if "enum" in schema and not any((value, type(value)) == (one, type(one)) for one in schema["enum"]):
        return [f"{path}: {value!r} is none of {schema['enum']}"]
    types = {"object": dict, "array": list, "string": str, "number": (int, float), "boolean": bool}
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if wanted and not any(
        isinstance(value, types[name]) and (name == "boolean" or not isinstance(value, bool)) for name in wanted
    ):
        return [f"{path}: {value!r} is no {' or '.join(wanted)}"]
    if isinstance(value, list):
        within = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        found = [mistakes(one, schema.get("items", {}), f"{path}[{index}]") for index, one in enumerate(value)]
        return sum(found, [] if within else [f"{path}: {len(value)} items"])
    if isinstance(value, dict):
        problems: list[str] = []
        for key, one in value.items():
            inside = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
            problems += [f"{path}.{key}: unknown"] if inside is False else mistakes(one, inside, f"{path}.{key}")
        return problems
    return []


def test_every_row_is_a_property_of_its_contexts():
    for bit, name in CONTEXT_NAMES.items():
        if bit & ENTRIES:
            continue
        properties = (SCHEMA["$defs"][name.replace(" ", "_")] if name != "main" else SCHEMA)["properties"]
        assert set(properties) == {row.name for row in ROWS if row.contexts & bit} | {"include", "steps"}
        for word in set(properties) - {"include", "steps"}:
            row = find_directive(word, bit)
            assert row and SCHEMA["$defs"][properties[word]["$ref"].removeprefix("#/$defs/")]["description"] == row.doc


def test_every_default_is_allowed_by_its_own_schema():
    with_default = {name: schema for name, schema in SCHEMA["$defs"].items() if "default" in schema}
    assert len(with_default) > 30
    for name, schema in with_default.items():
        assert mistakes(schema["default"], schema, name) == []


@pytest.mark.parametrize(
    "text",
    [
        (HOUSE / "wproxy.toml").read_text("utf-8"),
        quick_configuration("8080", ["127.0.0.1:3000", "unix:/a.sock"], "2"),
        "[[http.server]]\nlisten = [80, ['[::]:80', 'default_server']]\nserver_name = 'a'\nlocation.'= /x'.return = 204",
        "[http.upstream.a.server]\n'10.0.0.1' = [['weight=2'], { backup = true }]\n'10.0.0.2' = 'down'\n'10.0.0.3' = []",
        "[http]\nkeepalive_timeout = [75, 60]\nlarge_client_header_buffers = [4, '8k']\nproxy_set_header = [['Host', '$host']]",
        "[http.types]\n'text/html' = ['html', 'htm']\n'text/css' = 'css'\n[http.server.types]",
        "[http.server]\nsteps = [['set', '$a', 1], ['if', '($b)', [['return', 403]]]]\nif.'($c)'.return = [301, '/x']",
        "include = 'a.toml'\nhttp.include = ['b.conf', 'c/*.toml']",
    ],
    ids=["the shipped file", "wproxy proxy", "listen", "server", "arguments", "entries", "steps", "include"],
)
def test_a_good_file_is_a_good_file_for_the_schema(text):
    assert mistakes(tomli.loads(text)) == []


def test_the_shipped_file_is_a_good_file():
    text = (HOUSE / "wproxy.toml").read_bytes()
    configuration = load_text(text, "wproxy.toml", "/", lambda host, port: [Address("192.0.2.80", port)])
    assert configuration.error_log == (("logs/error.log", "notice"),)
    assert [str(listener.address) for listener in configuration.listeners] == ["127.0.0.1:8080"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("damon = true", ".damon: unknown"),
        ("[http]\nlisten = 80", ".http.listen: unknown"),
        ("daemon = 'maybe'", ".daemon: 'maybe' is none of [True, False, 'on', 'off']"),
        ("[http]\nserver.listn = 80", ".http.server.listn: unknown"),
        ("[http.upstream.a]\nserver.'10.0.0.1'.weight = [1]", ".http.upstream.a.server"),
    ],
)  # fmt: skip
def test_a_mistake_is_seen_by_the_schema(text, problem):
    assert any(problem in found for found in mistakes(tomli.loads(text)))
