"""The demo as a program: the story to its end, and every way to end it before.

wproxy itself is the front door; ports and files are the test's own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.ports import free_port
from master.demo.stage import CannotShow, set_stage
from wproxy.config.tree import ConfigurationError

# At a pace that no eye can follow.
RUN = (
    "import sys; from master.demo import run_demo, stream; stream.PACE = 0.02; "
    "sys.exit(run_demo(sys.argv[1], once='once' in sys.argv))"
)
CONFIGURATION = """\
worker_processes = 1
pid = "{folder}/wproxy.pid"
error_log = {{ "{folder}/error.log" = "error" }}
[events]
worker_connections = 256
[http]
access_log = "off"
[http.upstream.app]
server = {{ {servers} }}
[[http.server]]
listen = "127.0.0.1:{port}"
[http.server.location."/"]
proxy_pass = "http://app"
"""
needs_wproxy = pytest.mark.skipif(importlib.util.find_spec("wproxy.__main__") is None, reason="no wproxy command yet")


def free_ports(number):
    ports = set()
    while len(ports) < number:
        ports.add(free_port())
    return list(ports)


@pytest.fixture
def ports():
    return free_ports(4)


@pytest.fixture
def configuration(tmp_path, ports):
    servers = ", ".join(f'"127.0.0.1:{port}" = {{ fail_timeout = "1s" }}' for port in ports[1:])
    file = tmp_path / "wproxy.toml"
    file.write_text(CONFIGURATION.format(folder=tmp_path, servers=servers, port=ports[0]))
    return str(file)


@contextlib.contextmanager
def demo(configuration, *words, hangup=signal.SIG_DFL):
    """A running demo; whatever it leaves behind is killed. hangup: what it finds done about SIGHUP: nohup leaves it ignored, and
    that is inherited, by us from who runs the tests too."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, configuration, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, hangup),
    )
    try:
        yield process
    finally:
        for child in reversed(family_of(process)):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.communicate()


def family_of(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    return []


def read_until(process, words):
    """The lines up to the one with these words; the demo must not wait for a buffer to fill."""
    for line in process.stdout:
        if words in line:
            return line
    raise AssertionError(f"{words!r} was never said; {process.stderr.read()}")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_the_stage_is_what_the_configuration_says(configuration, ports):
    stage = set_stage(configuration)
    assert stage.url == f"http://127.0.0.1:{ports[0]}"
    assert {name: address.port for name, address in stage.applications.items()} == dict(zip(("one", "two", "three"), ports[1:]))


@pytest.mark.parametrize("which", [0, 2])
def test_a_used_port_is_told_before_anything_starts(configuration, ports, which):
    with socket.create_server(("127.0.0.1", ports[which])), pytest.raises(CannotShow, match=f"127.0.0.1:{ports[which]}"):
        set_stage(configuration)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nothing\.toml"):
        set_stage(str(tmp_path / "nothing.toml"))


def test_a_failure_is_one_line_and_exit_code_1(configuration, ports):
    with socket.create_server(("127.0.0.1", ports[3])), demo(configuration, "once") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.splitlines() == [
        f"wproxy demo: the demo application three cannot listen on 127.0.0.1:{ports[3]}: Address already in use"
    ]


@pytest.mark.whole
@pytest.mark.slow
@needs_wproxy
def test_the_story_to_its_end(configuration, ports):
    with demo(configuration, "once") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "kill -9" in out and "application two is back" in out
    assert ", 0 failed." in out
    assert "Traceback" not in out + err
    assert all(map(is_free, ports))


@pytest.mark.whole
@pytest.mark.slow
@needs_wproxy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(configuration, ports, number):
    with demo(configuration) as process:
        read_until(process, "Failover")
        family = family_of(process)
        assert len(family) >= 6  # itself, three applications, the master and a worker
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
        assert "Traceback" not in out + err
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []
    assert all(map(is_free, ports))


@pytest.mark.whole
@pytest.mark.slow
@needs_wproxy
def test_under_nohup_a_hangup_is_not_its_end(configuration, ports):
    with demo(configuration, hangup=signal.SIG_IGN) as process:
        read_until(process, "Failover")
        status = Path(f"/proc/{process.pid}/status").read_text()
        masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
        bit = 1 << (signal.SIGHUP - 1)
        assert int(masks["SigIgn"], 16) & bit and not int(masks["SigBlk"], 16) & bit  # it goes into the void
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert all(map(is_free, ports))


@pytest.mark.whole
@pytest.mark.slow
@needs_wproxy
def test_a_dead_application_does_not_disturb_the_end(configuration, ports):
    with demo(configuration) as process:
        read_until(process, "Failover")
        victim = next(child for child in family_of(process) if "three" in child.cmdline())
        os.kill(victim.pid, signal.SIGKILL)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in out + err
    assert all(map(is_free, ports))


@pytest.mark.whole
@pytest.mark.slow
@needs_wproxy
def test_a_reader_that_leaves_ends_everything(configuration, ports):
    with demo(configuration) as process:
        read_until(process, "Failover")
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert all(map(is_free, ports))


@pytest.mark.whole
@pytest.mark.slow
@needs_wproxy
def test_without_wproxy_there_is_no_demo(configuration, ports):
    with demo(configuration) as process:
        read_until(process, "Failover")
        own = [child for child in family_of(process) if child.ppid() == process.pid]
        next(child for child in own if "master.demo.app" not in child.cmdline()).kill()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "wproxy demo: wproxy ended by signal 9" in err
    assert all(map(is_free, ports[1:]))
