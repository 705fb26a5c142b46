"""The files that come with us: what a drop-in includes is found, the file beside the main one wins, and they say what nginx's say."""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path

import pytest

from wproxy.address import Address
from wproxy.config.document import SHIPPED, SHIPPED_DIRECTORY
from wproxy.config.load import load_configuration, load_document
from wproxy.config.tree import ConfigurationError

SITE = """
events {{ }}
http {{
    include mime.types; include koi-utf; include koi-win; include win-utf;
    server {{ listen 8080; location /f {{ fastcgi_pass 127.0.0.1:9000; {} }}
        location /u {{ uwsgi_pass 127.0.0.1:9000; include uwsgi_params; }}
        location /s {{ scgi_pass 127.0.0.1:9000; include scgi_params; }} }}
}}
"""
DEBIAN = Path("/etc/nginx")


def look_up(host: str, port: int) -> list[Address]:
    return [Address("192.0.2.1", port)]


def loaded(directory: Path, include: str = "include fastcgi_params;", name: str = "nginx.conf"):
    (directory / name).write_text(SITE.format(include))
    return load_configuration(str(directory / name), f"{directory}/", look_up)


def test_every_file_is_there_and_only_those(tmp_path):
    assert set(os.listdir(SHIPPED_DIRECTORY)) == SHIPPED | {"nginx.conf"}


def test_they_go_with_the_package():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[3] / "setup.cfg")
    assert "shipped/*" in setup["options.package_data"]["wproxy"]


@pytest.mark.parametrize("include", ["include fastcgi_params;", "include fastcgi.conf;"])
def test_what_a_drop_in_includes_is_found(include, tmp_path):
    configuration = loaded(tmp_path, include)
    (server,) = configuration.servers
    parameters = [[one.name for one in location.fastcgi_param] for location in server.each_location() if location.fastcgi_pass]
    assert ("SCRIPT_FILENAME" in parameters[0]) == (include == "include fastcgi.conf;")
    assert not configuration.warnings
    place = next(location for location in server.each_location() if location.fastcgi_pass).origin("fastcgi_param")
    assert place.startswith(SHIPPED_DIRECTORY), "messages name the file that was read"


def test_the_file_beside_the_main_one_wins(tmp_path):
    (tmp_path / "fastcgi_params").write_text("fastcgi_param MINE 1;")
    (server,) = loaded(tmp_path).servers
    (parameters,) = [location.fastcgi_param for location in server.each_location() if location.fastcgi_pass]
    assert [one.name for one in parameters] == ["MINE"]


def test_one_that_cannot_be_read_is_an_error_and_no_other_is_taken(tmp_path):
    (tmp_path / "fastcgi_params").mkdir()
    with pytest.raises(ConfigurationError, match="fastcgi_params"):
        loaded(tmp_path)


@pytest.mark.parametrize("name", ["nginx.conf", "sub/fastcgi_params", "./fastcgi_params", "fastcgi_param"])
def test_only_plain_names_of_these_files_are_found(name, tmp_path):
    with pytest.raises(ConfigurationError, match=r"No such file|includes itself"):
        loaded(tmp_path, f"include {name};")


def test_toml_finds_them_too(tmp_path):
    (tmp_path / "wproxy.toml").write_text('[http]\ninclude = "mime.types"\n[[http.server]]\nlisten = 8080\n')
    document = load_document(str(tmp_path / "wproxy.toml"))
    assert any(file.name == f"{SHIPPED_DIRECTORY}/mime.types" for file in document.files)


def test_the_stock_configuration_loads():
    configuration = load_configuration(f"{SHIPPED_DIRECTORY}/nginx.conf", "/srv/", look_up)
    assert not configuration.warnings and not configuration.refusals


# Beside nginx's own


def entries(path: Path | str, pattern: str) -> dict[str, str]:
    return dict(re.findall(pattern, Path(path).read_text(), re.MULTILINE))


needs_debian = pytest.mark.skipif(not (DEBIAN / "mime.types").exists(), reason="nginx is not installed")


@needs_debian
@pytest.mark.parametrize("name", ["fastcgi_params", "fastcgi.conf", "uwsgi_params", "scgi_params"])
def test_parameters_are_those_of_nginx(name):
    pattern = r"^\w+_param\s+(\w+)\s+(.*?);"
    # REMOTE_USER is whatever a client writes, verified or not; HTTP_HOST is sent without being asked for.
    theirs = {key: value for key, value in entries(DEBIAN / name, pattern).items() if key not in ("REMOTE_USER", "HTTP_HOST")}
    assert entries(f"{SHIPPED_DIRECTORY}/{name}", pattern) == theirs


@needs_debian
def test_media_types_are_those_of_nginx():
    def types(path: Path) -> dict[str, str]:
        pairs = re.findall(r"^\s+([a-z]+/\S+)\s+([^;]+);", path.read_text(), re.MULTILINE)
        return {ending: media for media, endings in pairs for ending in endings.split()}

    ours, theirs = types(Path(SHIPPED_DIRECTORY) / "mime.types"), types(DEBIAN / "mime.types")
    assert theirs.items() <= ours.items()
    assert ours.keys() - theirs.keys() <= {"mkv", "ogv", "xsl", "xslt"}, "types of Debian's nginx since 1.26"


# Where nginx's tables have another letter: a small one for the capital SHORT U.
WRONG = {"koi-utf": {"BE"}, "win-utf": {"A1"}, "koi-win": set()}


@needs_debian
@pytest.mark.parametrize("name", WRONG)
def test_letters_are_those_of_nginx(name):
    pattern = r"^\s+([0-9A-F]{2})\s+([0-9A-F]+)\s*;"
    theirs, ours = entries(DEBIAN / name, pattern), entries(f"{SHIPPED_DIRECTORY}/{name}", pattern)
    assert {key for key, value in theirs.items() if ours.get(key) != value} == WRONG[name]
    assert len(ours) >= len(theirs)
