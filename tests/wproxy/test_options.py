"""nginx's options: words to values. The texts are those of nginx 1.22 for the same words."""

import pytest

from wproxy.identity import NGINX, WPROXY, identity_of
from wproxy.options import BadOption, Options, Paths, find_paths, read_options


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], {}),
        (["-"], {}),
        (["-t"], {"test": True}),
        (["-T"], {"test": True, "dump": True}),
        (["-tq"], {"test": True, "quiet": True}),
        (["-t", "-q", "-c", "a.conf"], {"test": True, "quiet": True, "file": "a.conf"}),
        (["-tqca.conf"], {"test": True, "quiet": True, "file": "a.conf"}),
        (["-tc", "a.conf", "-p/srv"], {"test": True, "file": "a.conf", "prefix": "/srv"}),
        (["-p", "/srv", "-e", "stderr"], {"prefix": "/srv", "error_log": "stderr"}),
        (["-v"], {"version": True}),
        (["-V"], {"version": True, "build": True}),
        (["-h"], {"version": True, "help": True}),
        (["-?"], {"version": True, "help": True}),
        (["-v", "-t"], {"version": True, "test": True}),
        (["-s", "reload"], {"signal": "reload"}),
        (["-sstop"], {"signal": "stop"}),
        (["-qsquit"], {"quiet": True, "signal": "quit"}),
        (["-g", "daemon off; pid a.pid;"], {"directives": "daemon off; pid a.pid;"}),
        (["-c", "-t"], {"file": "-t"}),
        (["-c", "first", "-c", "second"], {"file": "second"}),
        (["-s", "stop", "-s", "reopen"], {"signal": "reopen"}),
    ],
)
def test_options_are_read(words, values):
    assert read_options(words) == Options(**values)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-x"], 'invalid option: "x"'),
        (["-tX"], 'invalid option: "X"'),
        (["--help"], 'invalid option: "-"'),
        (["foo"], 'invalid option: "foo"'),
        (["start"], 'invalid option: "start"'),
        ([""], 'invalid option: ""'),
        (["-t", "foo"], 'invalid option: "foo"'),
        (["-s", "foo"], 'invalid option: "-s foo"'),
        (["-sfoo"], 'invalid option: "-s foo"'),
        (["-s"], 'option "-s" requires parameter'),
        (["-g"], 'option "-g" requires parameter'),
        (["-p"], 'option "-p" requires directory name'),
        (["-c"], 'option "-c" requires file name'),
        (["-te"], 'option "-e" requires file name'),
        (["-s", "foo", "-x"], 'invalid option: "-s foo"'),
    ],
)
def test_a_senseless_one_is_told_in_nginx_s_words(words, text):
    with pytest.raises(BadOption) as error:
        read_options(words)
    assert str(error.value) == text


# The identity.


@pytest.mark.parametrize(
    ("program", "words", "identity", "left"),
    [
        ("/usr/sbin/nginx", ["-t"], NGINX, ["-t"]),
        ("nginx", [], NGINX, []),
        ("./nginx", ["--as-nginx", "-t"], NGINX, ["-t"]),
        ("/usr/bin/wproxy", ["--as-nginx", "-t"], NGINX, ["-t"]),
        ("/usr/bin/wproxy", ["-t", "--as-nginx"], WPROXY, ["-t", "--as-nginx"]),
        ("/opt/nginx/bin/wproxy", ["start"], WPROXY, ["start"]),
        ("/opt/nginx/bin/nginx-wproxy", ["start"], WPROXY, ["start"]),
        ("", [], WPROXY, []),
    ],
)
def test_the_name_or_the_first_word_decides_who_we_are(program, words, identity, left):
    assert identity_of(program, words) == (identity, left)


def test_each_has_its_token():
    assert NGINX.token == "nginx/1.31.5"
    assert NGINX.server(True) == b"nginx/1.31.5"
    assert NGINX.server(False) == b"nginx"
    assert WPROXY.server(False) == b"wproxy"
    assert WPROXY.server(True) == f"wproxy/{WPROXY.version}".encode()


# Where things are.


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (Options(), Paths("/usr/share/nginx/", "/etc/nginx/nginx.conf", "/var/log/nginx/error.log")),
        (Options(prefix="/srv"), Paths("/srv/", "/etc/nginx/nginx.conf", "/var/log/nginx/error.log")),
        (Options(file="a.conf"), Paths("/usr/share/nginx/", "/usr/share/nginx/a.conf", "/var/log/nginx/error.log")),
        (Options(prefix="/srv", file="a.conf", error_log="e.log"), Paths("/srv/", "/srv/a.conf", "/srv/e.log")),
        (Options(prefix="/srv/", file="/etc/a.conf", error_log="/e.log"), Paths("/srv/", "/etc/a.conf", "/e.log")),
        (Options(prefix="rel", file="conf/a.conf", error_log="stderr"), Paths("rel/", "rel/conf/a.conf", "stderr")),
    ],
)
def test_nginx_s_places_start_at_the_prefix(options, found):
    assert find_paths(options, NGINX) == found


def test_our_own_start_at_the_prefix_if_there_is_one_else_at_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a.conf").touch()
    assert find_paths(Options(file="conf/a.conf"), WPROXY) == Paths(f"{tmp_path}/conf/", f"{tmp_path}/conf/a.conf", "")
    assert find_paths(Options(file="a.conf", prefix="conf"), WPROXY) == Paths("conf/", "conf/a.conf", "")
    assert find_paths(Options(file="a.conf", prefix="conf", error_log="e.log"), WPROXY).log == "conf/e.log"


def test_under_our_own_name_a_prefix_may_hold_a_file_of_either_syntax(tmp_path):
    assert find_paths(Options(prefix=str(tmp_path)), WPROXY).file == f"{tmp_path}/wproxy.toml"
    (tmp_path / "nginx.conf").touch()
    assert find_paths(Options(prefix=str(tmp_path)), WPROXY).file == f"{tmp_path}/nginx.conf"
    (tmp_path / "wproxy.toml").touch()
    assert find_paths(Options(prefix=str(tmp_path)), WPROXY).file == f"{tmp_path}/wproxy.toml"
