"""What workers remember for those after them."""

from __future__ import annotations

import mmap
import os

import pytest

from wproxy.config.load import load_text
from wproxy.remembered import SIZE, Remembered, remembered


def test_what_was_written_last_is_remembered():
    memory = Remembered(mmap.mmap(-1, SIZE))
    assert memory.read() == ""
    for text in ("10.0.0.1 80 0 0\n", "a longer text\n" * 10, "short\n", ""):
        memory.write(text)
        assert memory.read() == text


def test_a_process_that_is_forked_later_writes_into_the_same_memory():
    memory = remembered("app", "test_remembered:80", "")
    pid = os.fork()
    if not pid:
        remembered("app", "test_remembered:80", "").write("from a worker")
        os._exit(0)
    os.waitpid(pid, 0)
    assert memory.read() == "from a worker"
    assert remembered("other", "test_remembered:80", "").read() == ""


@pytest.mark.parametrize("at", [0, 3, 7, 8, 15, 16, 20])
def test_what_was_written_by_half_is_nothing(at):
    memory = Remembered(mmap.mmap(-1, SIZE))
    memory.write("10.0.0.1 80 0 0\n")
    memory._memory[at : at + 1] = bytes([memory._memory[at] ^ 1])
    assert memory.read() == ""
    memory.write("10.0.0.2 80 0 0\n")
    assert memory.read() == "10.0.0.2 80 0 0\n"


def test_what_is_too_long_is_not_remembered():
    memory = Remembered(mmap.mmap(-1, SIZE))
    memory.write("x" * SIZE)
    assert memory.read() == ""


def test_lines_of_one_name_share_what_is_remembered_and_services_do_not():
    def memories(line: str) -> list[Remembered]:
        text = f"[http]\nresolver = '127.0.0.1'\n[http.upstream.app]\nzone = ['z', '64k']\nserver = [{line}]\n[[http.server]]\nlisten = 80\n"
        configuration = load_text(text.encode(), "wproxy.toml", "/", lambda host, port: [])
        (upstream,) = configuration.upstreams
        return list(upstream.remembered.values())

    (before,) = memories("['remembered.test:80', 'resolve']")
    after = memories("['Remembered.test:81', 'resolve'], ['remembered.test:82', 'resolve', 'weight=2']")
    assert all(memory is before for memory in after) and len(after) == 2
    (service,) = memories("['remembered.test', 'resolve', 'service=http']")
    assert service is not before
