"""What a worker remembers: sequences of near-repeats over one connection, and each request of them alone at a fresh worker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from near_repeats import Act, Message, Theatre, compare, rehearse

from wproxy.variables import BLOCK, VARIABLES

# Minutes of the long run; WPROXY_FUZZ_SEED is where it begins.
SOAK_MINUTES = float(os.environ.get("WPROXY_FUZZ_MINUTES", "10"))


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with pytest.MonkeyPatch.context() as patch:
        made = Theatre(patch, tmp_path_factory.mktemp("theatre"))
        yield made
        made.close()


@pytest.mark.parametrize("seed", range(6))
def test_no_request_of_a_sequence_shows_in_another(theatre: Theatre, seed: int):
    found = rehearse(theatre, seed, 12)
    assert not found, "\n".join(found)


OK = Message((b"HTTP/1.1", b"200 OK"), (), b"body")


def asking(target: bytes) -> Act:
    return Act(Message((b"GET", target, b"HTTP/1.1"), ((b"Host", b"a.test"),), framing="none"), (OK,))


def test_a_fault_of_this_kind_would_be_found(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """A value that holds for a location, remembered for a header block."""
    monkeypatch.setattr(VARIABLES["proxy_host"], "_varies", BLOCK)
    made = Theatre(monkeypatch, tmp_path_factory.mktemp("faulty"))
    try:
        acts = [asking(b"/named/v"), asking(b"/named/v"), asking(b"/named/v?up=2")]
        assert compare(made, acts[:2], set()) == []
        assert any("X-Host: a.test two" in each for each in compare(made, acts, set()))
        assert compare(made, acts, {0, 1}) != [], "also where they are sent at once"
    finally:
        made.close()


@pytest.mark.soak
def test_nor_in_many_sequences(theatre: Theatre):
    seed = int(os.environ.get("WPROXY_FUZZ_SEED", str(int(time.time()))))
    end = time.monotonic() + SOAK_MINUTES * 60
    while time.monotonic() < end:
        found = rehearse(theatre, seed, 20)
        assert not found, f"seed {seed}\n" + "\n".join(found)
        seed += 1
