"""`wproxy convert` as a function: every example goes to the other syntax and back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from trees import in_order_that_matters, shape

import wproxy.config.model  # noqa: F401  # registers the directives
from wproxy.config.convert import NGINX, TOML, convert, read_document, syntax_of
from wproxy.config.load import convert_file, load_document
from wproxy.config.tree import ConfigurationError

HOUSE = Path(__file__).parents[3]
EXAMPLES = sorted((HOUSE / "tests" / "examples").glob("*/*.conf"))


@pytest.mark.parametrize(
    ("file", "syntax"),
    [("wproxy.toml", TOML), ("/etc/nginx/nginx.conf", NGINX), ("a.toml.bak", NGINX), ("toml", NGINX), ("a.TOML", NGINX)],
)
def test_the_name_of_a_file_says_its_syntax(file, syntax):
    assert syntax_of(file) == syntax


def children(text: bytes, syntax: str):
    return read_document(text, "f", syntax).root.children


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_an_example_survives_the_way_there_and_back(file):
    text = re.sub(rb"(?<!\$)\{\w+\}", b"1", file.read_bytes())  # the places of ports, in some
    if text == file.read_bytes():
        tree = load_document(str(file)).root.children
        there = convert_file(str(file), TOML)
    else:
        tree = children(text, NGINX)
        there = convert(text, NGINX, TOML, str(file))
    assert in_order_that_matters(children(there, TOML)) == in_order_that_matters(tree)
    back = convert(there, TOML, NGINX, "f")
    assert shape(children(back, NGINX)) == shape(children(there, TOML))
    comments = [line.split("#", 1)[1].rstrip() for line in text.decode().splitlines() if line.lstrip().startswith("#")]
    assert not {line for line in comments if f"#{line}" not in there.decode() or f"#{line}" not in back.decode()}


def test_the_shipped_file_survives_the_way_there_and_back():
    text = (HOUSE / "wproxy.toml").read_bytes()
    there = convert(text, TOML, NGINX, "f")
    assert b"# Answered without an upstream.\n        location = /health {\n" in there
    assert in_order_that_matters(children(convert(there, NGINX, TOML, "f"), TOML)) == in_order_that_matters(children(text, TOML))


def test_what_is_included_is_written_out(tmp_path):
    (tmp_path / "a.conf").write_text("events {}\ninclude conf.d/*.conf;\n")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "b.conf").write_text("# of b\nuser www;\n")
    included = tmp_path / "conf.d" / "b.conf"
    assert convert_file(str(tmp_path / "a.conf"), NGINX).decode() == (
        f"# Included files are written out in place:\n#   {included}\nevents {{}}\n# of b\nuser www;\n"
    )


def test_a_file_that_cannot_be_read_is_not_converted():
    with pytest.raises(ConfigurationError, match=r'unexpected "}" in f:1'):
        convert(b"}", NGINX, TOML, "f")


def test_bytes_that_are_not_utf_8_stay_what_they_are():
    assert convert(b"a '\xff';", NGINX, NGINX, "f") == b"a \xff;\n"


def test_a_toml_without_events_becomes_an_nginx_conf_that_has_them():
    assert convert(b"user = 'www'\n[http]\n", TOML, NGINX, "f") == b"user www;\nevents {}\nhttp {}\n".replace(
        b"\ne", b"\n\ne"
    ).replace(b"\nh", b"\n\nh")
    assert b"events" not in convert(b"[types]\n'a/b' = 'c'\n", TOML, NGINX, "part.toml")
