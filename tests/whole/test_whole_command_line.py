"""nginx's command line: the same words to a link named nginx and, where it is installed, to the real nginx."""

import os
import re
import shlex
from functools import partial
from pathlib import Path

import pytest
from as_nginx import MINIMAL, REAL_NGINX, Nginx
from harness import accepts, connect, is_alive, title, until, wproxy
from wire import ask

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def unstarted(tmp_path_factory):
    """A prefix with files to be read, never started."""
    nginx = Nginx(tmp_path_factory.mktemp("prefix"))
    nginx.write(MINIMAL + "# the end\n", "twice.conf")
    nginx.write("events {}\nhttp {\n include part.conf;\n include sub/*.conf;\n include part.conf;\n}\n", "includes.conf")
    nginx.write("# nothing without a line end", "part.conf")
    nginx.write("server { listen 127.0.0.1:{port}; server_name a; }\n", "sub/a.conf")
    nginx.write("server { listen 127.0.0.1:{port}; server_name b; }\n", "sub/b.conf")
    nginx.write("pid other.pid;\n" + MINIMAL, "pid.conf")
    nginx.write("events {}\nhttp {\n server {\n listen 80;\n", "open.conf")
    nginx.write("events {}\nhttp { server { listen 80\n location / {} } }\n", "unterminated.conf")
    nginx.write("events {}\nhttp { }\nserver { }\n", "context.conf")
    nginx.write(MINIMAL.replace("off;", "/proc/none/access.log;"), "nolog.conf")
    nginx.write(MINIMAL.replace("127.0.0.1:{port}", "192.0.2.1:{port}"), "noaddress.conf")
    nginx.write("include none.conf;\n" + MINIMAL, "noinclude.conf")
    nginx.write("abc\n", "abc.pid")
    nginx.write("", "empty.pid")
    nginx.write("4194000\n", "gone.pid")
    return nginx


def said(text):
    """What is the same in every run, of us and of nginx: versions, times and process numbers are not."""
    text = re.sub(r"nginx/[0-9.]+", "nginx/VERSION", text)
    text = re.sub(r"\(default: (stderr|/var/log/nginx/error.log)\)", "(default: LOG)", text)
    text = re.sub(r"\d{4}/\d\d/\d\d [0-9:]{8}", "DATE", text)
    # Ours names the line that wants the address, and the brace that is left open.
    text = re.sub(r', "\w+" was opened in line \d+ and is not closed', "", text)
    text = re.sub(r"(bind\(\) to .*\)) in .*", r"\1", text)
    return re.sub(r"\d+#\d+", "PID#TID", text)


# As a shell would read them; {here} is the prefix.
CASES = {
    "version": "-v",
    "help": "-h",
    "another help": "-?",
    "unknown letter": "-x",
    "unknown letter in a bundle": "-tX",
    "a word": "start",
    "unknown signal": "-s foo",
    "glued unknown signal": "-sfoo",
    "no signal": "-s",
    "no prefix": "-p",
    "no file": "-c",
    "no log": "-e",
    "no directives": "-g",
    "good": "-t -p {here}/ -c nginx.conf -e e.log -g 'pid t.pid;'",
    "quiet": "-tq -p{here} -cnginx.conf -ee.log -g 'pid t.pid;'",
    "version and test": "-v -t -p {here}/ -c nginx.conf -e e.log -g 'pid t.pid;'",
    "dump": "-T -p {here}/ -c nginx.conf -e e.log -g 'pid t.pid;'",
    "dump with includes": "-T -q -p {here}/ -c includes.conf -e e.log -g 'pid t.pid;'",
    "dump of a broken one": "-T -p {here}/ -c open.conf -e e.log -g 'pid t.pid;'",
    "absolute file": "-t -p /none/ -c {here}/nginx.conf -e stderr -g 'pid {here}/t.pid;'",
    "relative prefix": "-t -p . -c nginx.conf -e e.log -g 'pid t.pid;'",
    "missing file": "-t -p {here}/ -c none.conf -e e.log",
    "missing file at the start": "-p {here}/ -c none.conf -e e.log",
    "missing include": "-t -p {here}/ -c noinclude.conf -e e.log",
    "open brace": "-t -p {here}/ -c open.conf -e e.log",
    "open brace on a log of stderr": "-t -p {here}/ -c open.conf -e stderr",
    "open brace at the start": "-p {here}/ -c open.conf -e e.log",
    "unterminated": "-t -p {here}/ -c unterminated.conf -e e.log",
    "log that cannot be": "-t -p {here}/ -c open.conf -e /proc/none/e.log",
    "access log that cannot be": "-t -p {here}/ -c nolog.conf -e e.log -g 'pid t.pid;'",
    "pid file that cannot be": "-t -p {here}/ -c nginx.conf -e e.log -g 'pid /proc/none/t.pid;'",
    "address that is not here": "-t -p {here}/ -c noaddress.conf -e e.log -g 'pid t.pid;'",
    "unknown in -g": "-t -p {here}/ -c nginx.conf -e e.log -g 'pid t.pid; qqq zzz;'",
    "block in -g": "-t -p {here}/ -c nginx.conf -e e.log -g 'events {}'",
    "unterminated in -g": "-t -p {here}/ -c nginx.conf -e e.log -g 'pid t.pid'",
    "duplicate of -g": "-t -p {here}/ -c pid.conf -e e.log -g 'pid t.pid;'",
    "signal without pid file": "-p {here}/ -c nginx.conf -e e.log -s stop -g 'pid none.pid;'",
    "signal to no number": "-p {here}/ -c nginx.conf -e e.log -s reload -g 'pid abc.pid;'",
    "signal to nothing": "-p {here}/ -c nginx.conf -e e.log -s reopen -g 'pid empty.pid;'",
    "signal to nobody": "-p {here}/ -c nginx.conf -e e.log -s quit -g 'pid gone.pid;'",
    "signal with a broken file": "-p {here}/ -c open.conf -e e.log -s quit -g 'pid gone.pid;'",
    "signal with the log on stderr": "-p {here}/ -c nginx.conf -e stderr -s quit -g 'pid gone.pid;'",
}


def words_of(unstarted, case):
    return shlex.split(CASES[case].replace("{here}", str(unstarted.directory)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.skipif(not os.path.exists(REAL_NGINX), reason="nginx is not installed")
def test_it_says_what_nginx_says_and_exits_with_its_code(unstarted, case):
    words = words_of(unstarted, case)
    log = unstarted.directory / "e.log"
    told = []
    for run in (partial(unstarted.run, binary=REAL_NGINX), unstarted.run_prepared):
        log.unlink(missing_ok=True)
        done = run(*words)
        told.append((said(done.errors), done.output, done.code, said(log.read_text()) if log.exists() else ""))
    assert told[1] == told[0]
    assert told[0][0] or told[0][1] or case == "quiet"


def test_a_test_leaves_no_pid_file(unstarted):
    for case in ("good", "dump"):
        (unstarted.directory / "t.pid").unlink(missing_ok=True)
        assert unstarted.run(*words_of(unstarted, case)).code == 0
        assert not (unstarted.directory / "t.pid").exists()


def test_all_problems_of_a_file_are_told_a_line_each(unstarted):
    unstarted.write(MINIMAL.replace("listen", "listn").replace("access_log", "acces_log"), "wrong.conf")
    done = unstarted.run("-t", "-p", str(unstarted.directory), "-c", "wrong.conf", "-e", "w.log")
    lines = done.errors.splitlines()
    assert done.code == 1
    assert re.match(r'nginx: \[emerg\] unknown directive "acces_log".* in .*/wrong.conf:3$', lines[0])
    assert re.match(r'nginx: \[emerg\] unknown directive "listn".* in .*/wrong.conf:5$', lines[1])
    assert lines[2:] == [f"nginx: configuration file {unstarted.directory}/wrong.conf test failed"]
    assert (unstarted.directory / "w.log").read_text().count("[emerg]") == 2


def test_under_its_own_name_it_has_the_same_options(unstarted):
    done = wproxy("-t", "-p", str(unstarted.directory), "-c", "nginx.conf", "-g", "pid t.pid;")
    assert done.code == 0
    assert done.errors.splitlines() == [
        f"wproxy: the configuration file {unstarted.directory}/nginx.conf syntax is ok",
        f"wproxy: configuration file {unstarted.directory}/nginx.conf test is successful",
    ]
    done = wproxy("--as-nginx", "-t", "-q", "-p", str(unstarted.directory), "-c", "open.conf", "-e", "stderr")
    assert done.errors.endswith(f"nginx: configuration file {unstarted.directory}/open.conf test failed\n")


def test_toml_is_tested_and_printed_too(unstarted):
    text = f'[http]\naccess_log = "off"\n[[http.server]]\nlisten = "127.0.0.1:{unstarted.port}"\n'
    path = unstarted.write(text, "wproxy.toml")
    done = unstarted.run("-T", "-q", "-e", "stderr", "-c", str(path), "-g", f"pid {unstarted.directory}/t.pid;")
    assert (done.code, done.errors, done.output) == (0, "", f"# configuration file {path}:\n{text}\n")


# A life.


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A daemon, started as nginx is."""
    nginx = Nginx(tmp_path_factory.mktemp("running"))
    nginx.write(MINIMAL.replace("location", "listen unix:{here}/front.sock; location"))
    with nginx.running():
        yield nginx


def test_a_start_returns_when_it_takes_connections_and_is_nginx_in_the_process_list(running):
    connect(running.port).close()
    connect(f"{running.directory}/front.sock").close()
    assert title(running.master) == f"nginx: master process {running.link} {' '.join(running.words())}"
    assert [title(child) for child in running.master.children()] == ["nginx: worker process"]
    names = [Path(f"/proc/{process.pid}/comm").read_text() for process in (running.master, *running.master.children())]
    assert names == ["nginx\n"] * 2, "pgrep -x finds it"
    assert os.getsid(running.master.pid) == running.master.pid
    assert re.search(r"\[notice\] .*: nginx/1\.31\.5", running.errors) is None  # the level of a log is error unless it says more


def test_a_second_start_fails_with_the_address_in_use_on_stderr_and_in_the_log(running):
    done = running.run(*running.words(main="pid second.pid;"))
    assert done.code == 1
    line = f"[emerg] bind() to 127.0.0.1:{running.port} failed (98: Address already in use)"
    assert done.errors.startswith(f"nginx: {line}")
    assert line.removeprefix("[emerg] ") in running.errors
    assert not (running.directory / "second.pid").exists()
    connect(running.port).close()


def test_reload_brings_new_workers_and_the_log_tells_when_the_old_are_gone(running):
    (old,) = running.master.children()
    running.write(f"error_log error.log notice;\n{(running.directory / 'nginx.conf').read_text()}")
    done = running.usual("-s", "reload")
    assert (done.code, done.output, done.errors) == (0, "", "")
    assert running.logged(f"worker process {old.pid} exited with code 0")
    assert running.logged("signal process started")
    # Only now does the log take notices: what led to this reload came before.
    (old,) = running.master.children()
    done = running.usual("-s", "reload")
    assert done.code == 0
    assert running.logged(f"worker process {old.pid} exited with code 0")
    assert re.search(r"\[notice\] \d+#\d+: signal 1 \(SIGHUP\) received from \d+, reconfiguring$", running.logged("SIGHUP"))


def test_a_broken_file_keeps_the_signal_from_being_sent(running):
    good = (running.directory / "nginx.conf").read_text()
    before = {child.pid for child in running.master.children()}
    running.write(good.replace("events", "evnts"))
    try:
        for word in ("reload", "stop"):
            done = running.usual("-s", word)
            assert done.code == 1
            assert re.match(r'nginx: \[emerg\] unknown directive "evnts".* in .*/nginx.conf:2\n$', done.errors)
        connect(running.port).close()
        assert {child.pid for child in running.master.children()} <= before
    finally:
        running.write(good)


def test_what_would_be_refused_is_not_reloaded(running):
    good = (running.directory / "nginx.conf").read_text()
    running.write(good.replace("location / {", "location / { perl a::b;"))
    try:
        tested = running.usual("-t")
        assert tested.code == 0
        assert '[warn] "perl"' in tested.errors
        done = running.usual("-s", "reload")
        assert done.code == 1
        assert done.errors.startswith('nginx: [emerg] "perl"')
    finally:
        running.write(good)


def test_quit_ends_it_and_removes_what_it_has_put_into_the_file_system(running):
    family = running.family()
    done = running.usual("-s", "quit")
    assert (done.code, done.output, done.errors) == (0, "", "")
    until(lambda: not any(is_alive(process) for process in family), "the end of all processes")
    assert not running.pid_file.exists()
    assert not (running.directory / "front.sock").exists()
    assert not accepts(running.port)


def test_under_daemon_off_the_process_that_was_started_is_the_master(tmp_path):
    nginx = Nginx(tmp_path)
    with nginx.in_foreground() as program:
        assert int(nginx.pid_file.read_text()) == program.pid
        connect(nginx.port).close()
        assert ask(nginx.port, "/").body == b"here"
        assert nginx.usual("-s", "stop").code == 0
        assert program.wait() == 0
        assert (program.output, program.errors) == ("", "")
    assert not nginx.pid_file.exists()


def test_the_log_is_there_as_soon_as_it_runs_and_a_bad_start_is_in_it(tmp_path):
    nginx = Nginx(tmp_path)
    nginx.write("error_log own.log;\n" + MINIMAL.replace("listen", "listen 192.0.2.1:1; listen"))
    done = nginx.usual()
    assert done.code == 1
    reason = "bind() to 192.0.2.1:1 failed (99: Cannot assign requested address)"
    assert done.errors.startswith(f"nginx: [emerg] {reason}")
    assert reason in nginx.errors
    assert reason in (tmp_path / "own.log").read_text()
    assert not nginx.pid_file.exists()


def test_wproxy_under_its_own_name_starts_on_nginx_s_options_as_well(tmp_path):
    nginx = Nginx(tmp_path)
    done = nginx.run(*nginx.words(), binary=Path(nginx.link.readlink()))
    try:
        assert (done.code, done.output, done.errors) == (0, "", "")
        assert title(nginx.master).startswith("wproxy: master process ")
    finally:
        nginx.end()
