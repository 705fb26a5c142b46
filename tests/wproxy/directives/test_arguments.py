"""What is not carried out yet is read all the same: `-t` takes and refuses the arguments that nginx takes and refuses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from argument_rows import BAD, GOOD, NEWER, STRICTER
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from master.names import look_up
from master.tls_files import load_tls
from tests.example_copies import make_certificate
from wproxy.config.convert import NGINX, TOML, convert
from wproxy.config.load import load_configuration
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError
from wproxy.directives.accepted import ACCEPTED

NGINX_PROGRAM = shutil.which("nginx") or "/usr/sbin/nginx"
_TEMPORARY = "".join(f"{name}_temp_path DIR/t;" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
# What only a build of nginx with other modules knows.
_NO_ORACLE = re.compile(r'unknown directive|dlopen\(\)|"aio on" is unsupported|proxy_protocol')

# No nginx that is at hand has them.
NEEDS_A_MODULE = {"tunnel_allow_upstream", "client_body_early_read", "geoip_org", "geoip_proxy", "perl_set"}


def written(row: str, directory: Path) -> str:
    """A whole configuration around a row."""
    main = events = http = server = location = ""
    if row.startswith("main! "):
        main = row.removeprefix("main! ")
    elif row.startswith("events! "):
        events = row.removeprefix("events! ")
    else:
        *outer, location = row.split("@@")
        http, server = ("", "", *outer)[-2:] if len(outer) < 2 else outer
    text = f"""\
{main}
error_log DIR/e.log; pid DIR/n.pid;
events {{ {events} }}
http {{ access_log off; {_TEMPORARY}
{http}
server {{ listen 127.0.0.1:28080; {server}
location / {{ {location} }} }} }}
"""
    return text.replace("DIR", str(directory))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that rows name."""
    directory = tmp_path_factory.mktemp("arguments")
    certificate, key = make_certificate()
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = {"site.pem": certificate, "ca.pem": certificate, "site.key": key, "other.key": other}
    files |= {"empty": b"", "short": b"x" * 20, "ticket48": b"x" * 48, "pw": b"x\n"}
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def load(row: str, directory: Path) -> Configuration:
    """What `-t` reads, and opens; raises ConfigurationError."""
    file = directory / "nginx.conf"
    file.write_text(written(row, directory))
    configuration = load_configuration(str(file), f"{directory}/", look_up)
    _, problems = load_tls(configuration)
    if problems:
        raise ConfigurationError(*problems)
    return configuration


@pytest.mark.parametrize("row", GOOD)
def test_what_nginx_takes_is_taken(row, directory):
    load(row, directory)


@pytest.mark.parametrize(("row", "told"), BAD)
def test_what_nginx_refuses_is_refused_and_told_with_its_place(row, told, directory):
    with pytest.raises(ConfigurationError) as caught:
        load(row, directory)
    problems = [str(problem).replace(str(directory), "DIR") for problem in caught.value.problems]
    assert "; ".join(re.sub(r" in DIR/nginx.conf(:\d+)?", "", problem) for problem in problems) == told
    assert all(problem.position for problem in caught.value.problems)


@pytest.mark.parametrize("row", [row for row in GOOD if not row.startswith("main!")][::4])
def test_toml_says_the_same(row, directory):
    text = written(row, directory).encode()
    again = convert(convert(text, NGINX, TOML, "nginx.conf"), TOML, NGINX, "wproxy.toml")
    file = directory / "again.conf"
    file.write_bytes(again)
    load_configuration(str(file), f"{directory}/", look_up)


def test_every_reader_has_a_row():
    named = set(re.findall(r"\b[a-z_0-9]+\b", " ".join([*GOOD, *(row for row, _ in BAD)])))
    readers = {row.read.__qualname__: name for name, rows in ACCEPTED.items() for row in rows}
    covered = {row.read.__qualname__ for name in named & set(ACCEPTED) for row in ACCEPTED[name]}
    without = {reader: name for reader, name in readers.items() if reader not in covered}
    assert set(without.values()) <= NEEDS_A_MODULE, without


def verdict(row: str, directory: Path) -> tuple[bool, str]:
    """What the real nginx says."""
    file = directory / "real.conf"
    file.write_text(written(row, directory))
    done = subprocess.run(
        [NGINX_PROGRAM, "-t", "-p", f"{directory}/", "-c", str(file)], capture_output=True, text=True, errors="replace"
    )
    return done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists(NGINX_PROGRAM), reason="the real nginx is not installed")
def test_the_rows_are_what_nginx_says(directory):
    wrong, compared = [], 0
    for row, is_good in [*((row, True) for row in GOOD), *((row, False) for row, _ in BAD)]:
        takes, said = verdict(row, directory)
        if row in NEWER | STRICTER or ("nonsense" not in row and _NO_ORACLE.search(said)):
            continue
        compared += 1
        if takes != is_good:
            wrong.append(f"{row}\n{said}")
    assert wrong == []
    assert compared > 500
