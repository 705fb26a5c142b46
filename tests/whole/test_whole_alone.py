"""`master_process off`, one process for everything; `worker_processes 0`, a master alone."""

import os
import shutil
import signal
import subprocess
import threading

import psutil
import pytest
from harness import connect, is_alive, until
from wire import Load, ask

pytestmark = pytest.mark.whole

# At 1m a second it takes longer than a reload on a busy machine.
SIZE = 6_000_000


def text(answer, big):
    return f"""
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        location."/" = {{ return = [200, "{answer}"] }}
        location."/big" = {{ alias = "{big}", limit_rate = "1m" }}
        """


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(bytes(SIZE))
    return path


def test_one_process_serves_reloads_under_load_and_is_ended_by_quit(start, big):
    front = start(text("generation 1", big), main="master_process = false", workers=0)
    process = front.master
    assert process.children() == []
    assert "master process" not in " ".join(process.cmdline())
    download = []
    client = threading.Thread(target=lambda: download.append(len(ask(front.port, "/big").body)))
    client.start()
    until(lambda: front.status()["active"] == 1, "a download under way")
    with Load(front.port, clients=4) as load:
        for generation in range(2, 5):
            load.wait_for(50)
            done = front.reload(text(f"generation {generation}", big))
            assert (done.code, done.output) == (0, f"wproxy: generation {generation} serves\n"), done
            assert ask(front.port, "/").body == f"generation {generation}".encode()
        load.wait_for(50)
    assert load.failures == []
    client.join(20)
    assert download == [SIZE]  # by the copy that stayed for it
    until(lambda: not process.children(), "the end of all copies")
    refused = front.reload(text('broken", "too many', big))
    assert refused.code == 1
    assert ask(front.port, "/").body == b"generation 4"
    access_log = front.directory / "access.log"
    access_log.rename(front.directory / "old.log")
    assert front.command("reopen").code == 0
    assert access_log.exists()
    assert front.command("upgrade").errors == "wproxy: [error] no upgrade: it runs without a master process, restart it\n"
    assert front.master.pid == process.pid
    slow = connect(front.port)
    slow.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    slow.recv(100)
    front.signal(signal.SIGQUIT)
    assert front.program.wait() == 0  # at once: QUIT is TERM here
    assert not (front.directory / "wproxy.pid").exists()
    slow.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_requests_under_way_are_cut_when_the_process_ends(start, big, tmp_path):
    site = text("x", big).replace("location.", "http2 = true\n        location.", 1)
    front = start(site, main="master_process = false", workers=0)
    got = [tmp_path / "one", tmp_path / "other"]
    each = [word for path in got for word in (f"http://127.0.0.1:{front.port}/big", "--output", str(path))]
    command = ["curl", "--silent", "--http2-prior-knowledge", "--parallel", "--parallel-immediate", *each]
    with connect(front.port) as plain, subprocess.Popen(command, stderr=subprocess.DEVNULL) as streams:
        plain.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.recv(100)
        until(lambda: all(path.exists() and path.stat().st_size for path in got), "requests under way")
        front.signal(signal.SIGTERM)
        assert front.program.wait() == 0
        streams.wait(20)


def test_what_is_left_of_a_generation_ends_with_the_process(start, big):
    front = start(text("x", big), main="master_process = false", workers=0)
    slow = connect(front.port)
    slow.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    slow.recv(100)
    assert front.reload().code == 0
    (left,) = front.master.children()
    front.signal(signal.SIGKILL)
    until(lambda: not is_alive(left), "its end")
    slow.close()


def test_a_master_alone_keeps_clients_waiting_until_a_reload_gives_it_workers(start, big):
    front = start(text("served", big), workers=0)
    assert front.status()["workers"] == []
    with connect(front.port) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        front.workers = 2
        assert front.reload().code == 0
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")
    assert len(front.worker_pids()) == 2


def test_reopen_waits_for_a_worker_that_is_late(start, big):
    front = start(text("x", big))
    late = psutil.Process(min(front.worker_pids()))
    old = front.directory / "access.log"
    inode = os.stat(old).st_ino
    old.rename(front.directory / "old.log")
    late.suspend()
    done = []
    command = threading.Thread(target=lambda: done.append(front.command("reopen")))
    command.start()
    try:
        other = psutil.Process(max(front.worker_pids()))
        until(lambda: old.exists() and str(old) in {file.path for file in other.open_files()}, "the other worker's new file")
        assert os.stat(old).st_ino != inode
        assert done == []
    finally:
        late.resume()
        command.join(20)
    assert done[0].code == 0, done
    assert str(old) in {file.path for file in late.open_files()}


def test_reopen_says_that_a_log_cannot_be_opened(start, big, tmp_path):
    (tmp_path / "apart").mkdir()
    log = tmp_path / "apart" / "access.log"
    front = start(text("x", big).replace('"/" = {', f'"/" = {{ access_log."{log}" = "short",'))
    ask(front.port, "/")
    apart = tmp_path / "apart"
    apart.rename(front.directory / "elsewhere")
    apart.write_text("in the way")
    done = front.command("reopen")
    assert done.code == 1
    assert "a log could not be reopened" in done.errors
    front.error_logged(f'open() "{apart}/access.log" failed (20: Not a directory)')
    apart.unlink()
    (front.directory / "elsewhere").rename(apart)
    assert front.command("reopen").code == 0
