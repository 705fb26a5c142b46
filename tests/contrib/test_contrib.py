"""What `contrib/` offers works here: units are valid, the rotation loses nothing, a container's conditions are enough."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from harness import ENVIRONMENT, ROOT, Wproxy, accepts, until, wproxy

from bench.ports import free_port
from wproxy.cli import is_for_nginx, parser
from wproxy.options import read_options

CONTRIB = ROOT / "contrib"
UNITS = sorted(path for path in (CONTRIB / "systemd").iterdir() if path.suffix in (".service", ".socket"))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]


def commands_in(text: str) -> list[list[str]]:
    """The words of every wproxy command in a unit or a script."""
    return [shlex.split(words) for words in re.findall(r"(?m)^(?:\w+=|\s+)/usr/bin/wproxy (.*)$", text)]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_systemd_accepts_every_unit(tmp_path):
    here = Path(sys.executable).with_name("wproxy")
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/bin/wproxy", str(here)))
    names = [str(tmp_path / unit.name) for unit in UNITS]
    verdict = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True, timeout=60)
    assert (verdict.returncode, verdict.stderr) == (0, "")


@pytest.mark.parametrize("file", [*SERVICES, CONTRIB / "logrotate" / "wproxy"], ids=lambda file: file.name)
def test_every_command_is_one_of_ours(file):
    commands = commands_in(file.read_text())
    assert commands
    for words in commands:
        if is_for_nginx(words[0]):
            read_options(words)
        else:
            assert parser().parse_args(words).config == "/etc/wproxy/wproxy.toml"


@pytest.mark.parametrize("directory", ["container", "systemd"])
def test_a_configuration_that_is_shipped_has_no_findings(directory, tmp_path):
    text = (CONTRIB / directory / "wproxy.toml").read_text()
    for place in ("/run/wproxy", "/var/log/wproxy"):  # made by the unit, and not here
        (tmp_path / place[1:]).mkdir(parents=True)
        text = text.replace(place, str(tmp_path / place[1:]))
    assert re.search(r"listen = (8080\n|\[80, )", text)
    port = str(free_port())  # an ordinary user may not bind 80
    text = text.replace("8080", port).replace("[80,", f"[{port},").replace("]:80", f"]:{port}")
    copy = tmp_path / "wproxy.toml"
    copy.write_text(text)
    done = wproxy("check", str(copy))
    assert done.code == 0, done


def test_the_container_is_built_from_files_that_are_there():
    text = (CONTRIB / "container" / "Containerfile").read_text()
    sources = [word for words in re.findall(r"(?m)^COPY (.*)$", text) for word in words.split()[:-1]]
    assert {"setup.cfg", "wproxy", "master", "worker"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []


@pytest.mark.whole
@pytest.mark.skipif(not shutil.which("logrotate"), reason="no logrotate here")
def test_the_real_logrotate_loses_no_line(tmp_path):
    http = '[[http.server]]\nlisten = "127.0.0.1:{port}"\nlocation."/".return = [200, "ok"]\n'
    with Wproxy(tmp_path / "served", http, daemon=True) as server:
        command = f"{sys.executable} -m wproxy reopen -c {server.file}"
        script = (CONTRIB / "logrotate" / "wproxy").read_text().replace("/var/log/wproxy", str(server.directory))
        script = re.sub(r"/usr/bin/wproxy .*", command, script).replace("\tdaily\n", f"\tsu {os.getuid()} {os.getgid()}\n")
        (tmp_path / "rotate").write_text(script)
        sent = 0
        for _ in range(3):
            for _ in range(20):
                urllib.request.urlopen(f"http://127.0.0.1:{server.port}/{sent}", timeout=10).close()
                sent += 1
            until(lambda: server.access_log, "a line in the log")
            rotate = ["logrotate", "--force", "--state", str(tmp_path / "state"), str(tmp_path / "rotate")]
            done = subprocess.run(rotate, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, cwd=ROOT)
            assert done.returncode == 0, done.stderr
        logs = [path for path in server.directory.iterdir() if path.name.startswith("access.log")]
        assert len(logs) == 4
        lines = subprocess.run(["zcat", "-f", *map(str, logs)], capture_output=True, text=True, check=True).stdout.splitlines()
        assert sorted(int(re.search(r"GET /(\d+) ", line)[1]) for line in lines) == list(range(sent))


@pytest.mark.whole
@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="no systemd-socket-activate here")
def test_the_first_configuration_serves_the_sockets_of_the_unit_and_writes_nothing_beside_itself(tmp_path):
    port = free_port()
    places = {"/run/wproxy": tmp_path / "run", "/var/log/wproxy": tmp_path / "log", "/etc/wproxy": tmp_path / "etc"}
    text = (CONTRIB / "systemd" / "wproxy.toml").read_text().replace(":80", f":{port}").replace("[80,", f'["127.0.0.1:{port}",')
    for place, directory in places.items():
        directory.mkdir()
        text = text.replace(place, str(directory))
    file = tmp_path / "etc" / "wproxy.toml"
    file.write_text(text.replace("[::]", "[::1]").replace("notice", "info"))
    unit = (CONTRIB / "systemd" / "wproxy.socket").read_text()
    addresses = re.findall(r"(?m)^ListenStream=(.*)$", unit)
    assert addresses == ["0.0.0.0:80", "[::]:80"] and "BindIPv6Only=ipv6-only" in unit
    words = ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", f"--listen=[::1]:{port}"]
    words += [f"--setenv=PYTHONPATH={ROOT}", sys.executable, "-m", "wproxy", "start", "--foreground", "-c", str(file)]
    service = subprocess.Popen(words, stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        until(lambda: accepts(port), "the manager listens")  # the first client has it start
        for host in ("127.0.0.1", "[::1]"):
            assert urllib.request.urlopen(f"http://{host}:{port}/", timeout=10).status == 200
        until((tmp_path / "run" / "wproxy.pid").exists, "a pid file")
        assert (tmp_path / "log" / "error.log").read_text().count("inherited socket #") == 2
        until(lambda: wproxy("quit", "-c", str(file)).code == 0, "an end")
        assert service.wait(10) == 0
    finally:
        if service.poll() is None:
            service.kill()
            service.wait()
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["wproxy.toml"]


# A container's conditions: process 1 of its own, nothing can be written, and a user id that no file knows.
_LIKE_A_CONTAINER = """\
mount --make-rprivate / && mount --bind / {root} && mount -o remount,ro,bind {root} || exit 99
mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev || exit 99
exec chroot --userspec=54321:0 {root} env -i PATH=/usr/bin:/bin PYTHONPATH={source} {python} -m wproxy start -c {file}
"""


class Contained:
    """wproxy in such conditions, with its stdout and stderr on pipes of somebody else's."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        file = directory / "wproxy.toml"
        text = (CONTRIB / "container" / "wproxy.toml").read_text()
        file.write_text(text.replace("listen = 8080", f'listen = "127.0.0.1:{self.port}"').replace('"auto"', "2"))
        root = directory / "root"
        root.mkdir()
        script = _LIKE_A_CONTAINER.format(root=root, source=ROOT, python=sys.executable, file=file)
        self.popen = subprocess.Popen(
            ["unshare", "--fork", "--kill-child", "--pid", "--mount", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def master(self) -> psutil.Process:
        return psutil.Process(self.popen.pid).children()[0]

    def end(self) -> None:
        """Kill what is left of it."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate()


def is_reachable_for_strangers(path: Path) -> bool:
    """Whether every directory on the way may be entered by anybody."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


@pytest.fixture
def contained(public_path) -> Iterator[Contained]:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("namespaces need root")
    if not (is_reachable_for_strangers(Path(sys.executable)) and is_reachable_for_strangers(ROOT)):
        pytest.skip("Python or the source is in a directory that is closed to strangers")
    server = Contained(public_path)
    yield server
    server.end()


@pytest.mark.whole
def test_a_container_serves_logs_to_its_output_and_leaves_gracefully(contained):
    def serves() -> bool:
        if contained.popen.poll() == 99:
            pytest.skip("mounting is not allowed here")
        assert contained.popen.poll() is None, contained.popen.stderr.read()
        return accepts(contained.port)

    until(serves, "the container serves", 20)
    assert urllib.request.urlopen(f"http://127.0.0.1:{contained.port}/", timeout=10).status == 200
    master = contained.master
    status = Path(f"/proc/{master.pid}/status").read_text()
    assert re.search(r"(?m)^NSpid:.*\t1$", status)
    assert re.search(r"(?m)^Uid:\t54321\t54321\t", status)
    master.send_signal(3)
    output, errors = contained.popen.communicate(timeout=20)
    assert contained.popen.returncode == 0, errors
    assert [line.split('"')[1] for line in output.splitlines()] == ["GET / HTTP/1.1"]
    assert " [notice] 1#1: exit" in errors
    assert "[emerg]" not in errors and "[alert]" not in errors
