"""Memory that the system does not map: the message names its size and the limit."""

from __future__ import annotations

import errno
import resource

import pytest

from wproxy.address_space import CannotMap, map_file
from wproxy.lasting import LastingMemory

MORE_THAN_ANY_PROCESS_HAS = 1 << 52


def test_memory_that_can_be_had():
    with map_file(-1, 8192, "counters") as memory:
        memory[8191] = 1


@pytest.mark.parametrize(
    ("limit", "advice"),
    [
        (resource.RLIM_INFINITY, "vm.overcommit_memory"),
        (400 << 20, "raise the limit of address space, 400 MB now (ulimit -v, LimitAS=)"),
    ],
)
def test_memory_that_cannot(monkeypatch, limit, advice):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    with pytest.raises(CannotMap) as raised:
        map_file(-1, MORE_THAN_ANY_PROCESS_HAS, "counters")
    assert raised.value.errno == errno.ENOMEM
    text = str(raised.value)
    assert text.startswith("mmap() of 4294967296 MB of address space for counters failed (12: Cannot allocate memory)")
    assert advice in text


def test_a_region_without_room_says_what_it_is_for():
    with pytest.raises(CannotMap, match="for counters failed"):
        LastingMemory().region("counters\0x", MORE_THAN_ANY_PROCESS_HAS)
