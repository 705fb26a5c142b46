"""`wproxy demo --once`, the first thing that a new user sees."""

import socket

import pytest
from harness import ROOT, descendants, until, wproxy

pytestmark = pytest.mark.whole
PORTS = (8080, 3001, 3002, 3003)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


needs_ports = pytest.mark.skipif(not all(map(is_free, PORTS)), reason=f"one of the ports {PORTS} is in use")


@needs_ports
@pytest.mark.slow
def test_the_demo_shows_a_failover_without_a_failed_request_and_leaves_nothing_running(tmp_path):
    before = descendants()
    # From anywhere, on a copy: its logs go where the configuration is.
    (tmp_path / "wproxy.toml").write_text((ROOT / "wproxy.toml").read_text().replace("10s", "1s"))
    done = wproxy("demo", "--once", "-c", str(tmp_path / "wproxy.toml"), cwd=tmp_path, seconds=60)
    assert done.code == 0, done
    assert ", 0 failed." in done.output
    assert "everything stopped" in done.output
    assert "http://127.0.0.1:8080" in done.output
    assert "Traceback" not in done.output + done.errors
    until(lambda: descendants() <= before, "no process left")
    assert all(map(is_free, PORTS))


@needs_ports
def test_the_demo_says_which_port_is_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 3002)):
        done = wproxy("demo", "--once", cwd=tmp_path)
    assert done.code == 1
    assert "3002" in done.errors
    assert len(done.errors.splitlines()) == 1
    assert is_free(8080)
