"""What init systems, log rotation and people do with an nginx, done with a link of that name (drop-in.md)."""

import os
import re
import subprocess

import pytest
from as_nginx import Nginx
from harness import ENVIRONMENT, Wproxy, is_alive, until
from wire import ask

pytestmark = pytest.mark.whole

SITE = """\
user root;
error_log {here}/log/error.log notice;
events { worker_connections 768; }
http {
    log_format short '$request';
    access_log {here}/log/access.log short;
    server {
        listen 127.0.0.1:{port};
        location / { return 200 "here"; }
        location /hidden { server_tokens off; return 404; }
    }
}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """A site like a distribution's, not started."""
    nginx = Nginx(tmp_path_factory.mktemp("site"))
    (nginx.directory / "log").mkdir()
    nginx.log = nginx.directory / "log" / "error.log"
    nginx.main = "pid nginx.pid;"
    nginx.write(SITE if os.geteuid() == 0 else SITE.replace("user root;", ""))
    yield nginx
    nginx.end()


def shell(nginx, line):
    """Run a line of a unit file or of logrotate, with `nginx` in the path; returns (exit code, output and errors)."""
    environment = {**ENVIRONMENT, "PATH": f"{nginx.link.parent}:{ENVIRONMENT['PATH']}", "D": str(nginx.directory)}
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=environment, cwd=nginx.directory, timeout=30)
    return done.returncode, done.stdout + done.stderr


# The unit of Debian's package; the paths are its built-in ones there and said here.
WHERE = "-p $D -c nginx.conf -e log/error.log"
START_PRE = f"nginx -t -q {WHERE} -g 'daemon on; master_process on; pid nginx.pid;'"
START = f"nginx {WHERE} -g 'daemon on; master_process on; pid nginx.pid;'"
RELOAD = f"nginx {WHERE} -g 'daemon on; master_process on; pid nginx.pid;' -s reload"


def test_a_unit_of_systemd_starts_reloads_and_stops_it(nginx):
    assert shell(nginx, START_PRE) == (0, "")
    assert not nginx.pid_file.exists()
    assert shell(nginx, START) == (0, "")
    # Type=forking with PIDFile: when the command returns the file is there, and names a process that is not its child.
    master = nginx.master
    assert os.getsid(master.pid) == master.pid
    (worker,) = master.children()
    assert shell(nginx, RELOAD) == (0, "")
    assert nginx.logged(f"worker process {worker.pid} exited with code 0")
    assert nginx.master == master
    family = nginx.family()
    assert shell(nginx, "kill -QUIT $(cat $D/nginx.pid)") == (0, "")
    until(lambda: not any(map(is_alive, family)), "the end of all")
    assert not nginx.pid_file.exists()


def test_a_rotation_of_the_logs_loses_no_line(nginx):
    assert shell(nginx, START) == (0, "")
    log = nginx.directory / "log"
    try:
        for number in range(3):
            assert ask(nginx.port, f"/{number}").body == b"here"
            # As logrotate does: move, then postrotate.
            assert (
                shell(nginx, f"mv $D/log/access.log $D/log/access.log.{number} && mv $D/log/error.log $D/log/error.log.{number}")[
                    0
                ]
                == 0
            )
            assert shell(nginx, "kill -USR1 `cat $D/nginx.pid`") == (0, "")
            until(lambda: (log / "access.log").exists() and (log / "error.log").exists(), "new logs")
        assert ask(nginx.port, "/3").body == b"here"
    finally:
        nginx.end()
    lines = "".join(path.read_text() for path in [*(log / f"access.log.{number}" for number in range(3)), log / "access.log"])
    assert re.findall(r"GET /(\d)", lines) == ["0", "1", "2", "3"]


def test_it_answers_as_nginx(nginx):
    with nginx.running():
        good, wrong = ask(nginx.port, "/"), ask(nginx.port, "/hidden")
        assert good.all("server") == ["nginx/1.31.5"]
        assert wrong.all("server") == ["nginx"]
        assert b"<hr><center>nginx</center>" in wrong.body
        assert ask(nginx.port, "/", host="a b").all("server") == ["nginx/1.31.5"]


def test_under_its_own_name_it_answers_as_wproxy(tmp_path):
    with Wproxy(
        tmp_path, '[[http.server]]\nlisten = "127.0.0.1:{port}"\nlocation."/hidden" = { server_tokens = false }\n'
    ) as front:
        assert re.fullmatch(r"wproxy/[0-9.]+", ask(front.port, "/").all("server")[0])
        assert ask(front.port, "/hidden").all("server") == ["wproxy"]
