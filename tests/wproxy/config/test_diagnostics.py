"""Every row of `diagnostics`: said by us in both syntaxes, and by the real nginx where there is one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from diagnostics import ACCEPTED, DOUBTED, REFUSED, Row, place, written

from wproxy.address import Address
from wproxy.config.convert import NGINX, TOML, convert
from wproxy.config.load import load_text
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError

REAL = shutil.which("nginx") or "/usr/sbin/nginx"

# Where we differ from nginx 1.22.1 and mean to: the configuration, what we say, what it says.
DIFFERENT = [
    # It looks variables up when all is read, and then no longer knows the line.
    (Row("server", "return 200 $nope;", ""), ['unknown "nope" variable in nginx.conf:2'], ['unknown "nope" variable']),
    (Row("http", "log_format a $nope;", ""), ['unknown "nope" variable in nginx.conf:2'], ['unknown "nope" variable']),
    (Row("location", "if ($1) { }", ""), ['unknown "1" variable in nginx.conf:2'], ['unknown "1" variable']),
    # It says nothing of what can never be found.
    (Row("server", "location @a { }\nlocation @a { }", ""), ['duplicate location "@a", ignored in nginx.conf:3', "ok"], ["ok"]),
    (
        Row("server", "server_name www*;", ""),
        ['invalid server name or wildcard "www*" on 0.0.0.0:28080, ignored', "ok"],
        ["ok"],
    ),
    # 1.31 has them.
    (
        Row("http", "add_header_inherit merge;", ""),
        ["ok"],
        ['unknown directive "add_header_inherit" in nginx.conf:2'],
    ),
    (Row("server", "listen 28081 quic;", ""), ["ok"], ['invalid parameter "quic" in nginx.conf:2']),
]
# Not for TOML to say: what is wrong with braces and semicolons, a value twice in one table, and what its keys cannot spell.
_NO_TOML = (
    "is not terminated by",
    "has no opening",
    'unexpected "}"',
    "unexpected end of file",
    'no "events" section',
    "is duplicate",
    "invalid number of arguments",
    "invalid location modifier",
)


def look_up(host: str, port: int) -> list[Address]:
    raise OSError("Name or service not known")


def problems(text: str, file: str) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        load_text(text.encode(), file, "/srv/", look_up)
    return [str(problem) for problem in error.value.problems]


def load(text: str, file: str) -> Configuration:
    return load_text(text.encode(), file, "/srv/", look_up)


def in_toml(row: Row) -> str:
    return convert(written(row).encode(), NGINX, TOML, "nginx.conf").decode()


def called(row: Row) -> str:
    return f"{row.block}: {' '.join(row.text.split())}"[:90]


def is_ours(text: str) -> bool:
    """Whether a warning is one that nginx has no words for."""
    return "not yet effective" in text


@pytest.mark.parametrize("row", REFUSED, ids=called)
def test_what_nginx_refuses_is_refused_in_its_words_and_at_its_line(row):
    first, *others = problems(written(row), "nginx.conf")
    assert re.sub(
        r", did you mean .*\?(?= in )|, it belongs inside .*(?= in )|, \"\w+\" was opened.*(?= in )", "", first
    ) == row.said + place(row, "nginx.conf")
    assert all("no servers are inside upstream" in other for other in others)


@pytest.mark.parametrize("row", [row for row in REFUSED if not any(words in row.said for words in _NO_TOML)], ids=called)
def test_the_same_is_said_of_the_same_in_toml(row):
    first = problems(in_toml(row), "wproxy.toml")[0]
    if row.line:
        assert re.fullmatch(
            re.escape(row.said) + r"(, did you mean .*\?|, it belongs inside .*)? in wproxy\.toml:\d+:\d+", first
        ), first
    else:
        assert first == row.said


@pytest.mark.parametrize("row", DOUBTED, ids=called)
def test_what_nginx_doubts_is_a_warning(row):
    found = [str(warning) for warning in load(written(row), "nginx.conf").warnings if not is_ours(warning.text)]
    assert found == [row.said + place(row, "nginx.conf")]
    found = [warning.text for warning in load(in_toml(row), "wproxy.toml").warnings if not is_ours(warning.text)]
    assert found == [row.said]


@pytest.mark.parametrize("row", ACCEPTED, ids=called)
def test_what_nginx_accepts_is_accepted(row):
    assert not [warning for warning in load(written(row), "nginx.conf").warnings if not is_ours(warning.text)]
    assert not [warning for warning in load(in_toml(row), "wproxy.toml").warnings if not is_ours(warning.text)]


# The real one


def said_by_us(row: Row) -> list[str]:
    try:
        warnings = load(written(row), "nginx.conf").warnings
    except ConfigurationError as error:
        return [str(problem) for problem in error.problems]
    return [*(str(warning) for warning in warnings if not is_ours(warning.text)), "ok"]


@pytest.mark.parametrize(("row", "ours"), [different[:2] for different in DIFFERENT], ids=str)
def test_where_we_differ_we_mean_to(row, ours):
    assert said_by_us(row) == ours


def said_by_nginx(row: Row, directory) -> list[str]:
    file = directory / "nginx.conf"
    file.write_text(written(row))
    done = subprocess.run(
        [REAL, "-t", "-p", f"{directory}/", "-c", str(file), "-e", "stderr"], capture_output=True, text=True, check=False
    )
    found = re.findall(r"\[(?:emerg|warn)\] (?:\d+#\d+: )?(.*)$", done.stderr, re.MULTILINE)
    lines = [line.replace(str(file), "nginx.conf") for line in found if '"user" directive' not in line]
    return [*dict.fromkeys(lines), *(["ok"] if done.returncode == 0 else [])]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    made = tmp_path_factory.mktemp("nginx")
    (made / "logs").mkdir()
    return made


needs_nginx = pytest.mark.skipif(
    not shutil.which(REAL) or os.geteuid() != 0,
    reason="no nginx here to ask, or not as root: it opens the log that it was built with",
)


@needs_nginx
@pytest.mark.parametrize("row", REFUSED, ids=called)
def test_nginx_says_so_of_what_it_refuses(row, directory):
    assert said_by_nginx(row, directory) == [row.said + place(row, "nginx.conf")]


@needs_nginx
@pytest.mark.parametrize("row", DOUBTED, ids=called)
def test_nginx_says_so_of_what_it_doubts(row, directory):
    assert said_by_nginx(row, directory) == [row.said + place(row, "nginx.conf"), "ok"]


@needs_nginx
@pytest.mark.parametrize("row", ACCEPTED, ids=called)
def test_nginx_accepts_what_we_accept(row, directory):
    assert said_by_nginx(row, directory) == ["ok"]


def version_of_nginx() -> tuple[int, ...]:
    """That of the real one."""
    said = subprocess.run([REAL, "-v"], capture_output=True, text=True, check=False).stderr
    return tuple(map(int, re.findall(r"\d+", said)[:2]))


@needs_nginx
@pytest.mark.parametrize(("row", "theirs"), [(row, theirs) for row, _, theirs in DIFFERENT], ids=str)
def test_nginx_still_differs(row, theirs, directory):
    if version_of_nginx() > (1, 22):
        pytest.skip("a later nginx knows more directives")
    assert said_by_nginx(row, directory) == theirs
