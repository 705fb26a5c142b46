"""A zone of the cache: what a line of a configuration makes of it, and how much room its index has."""

from __future__ import annotations

import mmap
import os

import pytest

from wproxy.cache.counters import EXPIRED, HIT, MISS, as_json, column
from wproxy.cache.key import cache_key
from wproxy.cache.memory import (
    COUNTERS_SIZE,
    EXISTS,
    LOADED_WORD,
    PENDING,
    PRESENT,
    RECORD_WORDS,
    SIZE,
    STATE,
    CacheCounters,
    CacheMemory,
    body_start_of,
    state_of,
    status_of,
    uses_of,
)
from wproxy.cache.zone import CacheZone
from wproxy.config.load import load_text
from wproxy.zone_memory import WAYS


def zones(lines: str) -> tuple[CacheZone, ...]:
    text = f"events {{}} http {{ {lines} server {{ listen 127.0.0.1:1; }} }}"
    return load_text(text.encode(), "nginx.conf", "/prefix/", None).cache_zones


def test_a_line_is_read_with_all_its_parameters():
    (zone,) = zones(
        "proxy_cache_path cache/ levels=1:2 keys_zone=one:1m inactive=30s max_size=2g min_free=5m use_temp_path=off "
        "manager_files=7 manager_sleep=20ms manager_threshold=1s loader_files=8 loader_sleep=30ms loader_threshold=2s;"
    )
    assert (zone.kind, zone.name, zone.path, zone.levels, zone.size) == (
        "proxy_cache_path", "one", "/prefix/cache", (1, 2), 1 << 20,
    )  # fmt: skip
    assert (zone.max_size, zone.min_free, zone.inactive) == (2 << 30, 5 << 20, 30.0)
    assert (zone.manager_files, zone.manager_sleep, zone.manager_threshold) == (7, 0.02, 1.0)
    assert (zone.loader_files, zone.loader_sleep, zone.loader_threshold) == (8, 0.03, 2.0)
    digest = bytes.fromhex("d7b6e5d1c3b84ce3a4b0d9f0bd1c96b3")
    assert zone.file(digest) == f"/prefix/cache/3/6b/{digest.hex()}"


def test_the_defaults_are_those_of_nginx():
    (zone,) = zones("fastcgi_cache_path /c keys_zone=defaults:32k;")
    assert zone.levels == ()
    assert zone[7:] == (None, 0, 600.0, 100, 0.05, 0.2, 100, 0.05, 0.2)
    assert zone.memory.is_cold


def test_the_same_line_has_the_same_memory_and_another_one_another():
    (one,) = zones("proxy_cache_path /c keys_zone=kept:64k inactive=1s;")
    (same,) = zones("proxy_cache_path /c keys_zone=kept:64k inactive=9s max_size=1m;")
    others = [
        zones(f"{line};")[0]
        for line in (
            "proxy_cache_path /d keys_zone=kept:64k",
            "proxy_cache_path /c keys_zone=kept:128k",
            "proxy_cache_path /c keys_zone=kept:64k levels=1",
            "scgi_cache_path /c keys_zone=kept:64k",
        )
    ]
    assert same.memory is one.memory and same.counters is one.counters
    assert not any(other.memory is one.memory or other.counters is one.counters for other in others)


def test_an_index_that_another_one_has_stood_in_for_is_cold_again():
    """The other one has entered and deleted files that it does not know of."""
    (one,) = zones("proxy_cache_path /c keys_zone=turns:64k;")
    one.memory.words[LOADED_WORD] = 1
    assert not zones("proxy_cache_path /c keys_zone=turns:64k inactive=9s;")[0].memory.is_cold
    assert zones("proxy_cache_path /e keys_zone=turns:96k;")[0].memory is not one.memory and not one.memory.is_cold
    assert zones("proxy_cache_path /c keys_zone=turns:128k;")[0].memory.is_cold and not one.memory.is_cold
    assert zones("proxy_cache_path /c keys_zone=turns:64k;")[0].memory is one.memory and one.memory.is_cold


def test_a_megabyte_has_room_for_eight_thousand_keys():
    memory = CacheMemory(mmap.mmap(-1, 1 << 20))
    kept = 0
    for number in range(8000):
        _, first, second, *buckets = memory.place_of(cache_key(b"/%d" % number).digest)
        free = [[at for at in range(bucket, bucket + WAYS) if not memory.words[at]] for bucket in buckets]
        roomiest = max(free, key=len)
        if roomiest:
            memory.enter(first, second, roomiest[0])
            kept += 1
    assert kept == 8000


def test_an_entry_is_found_again_with_its_record():
    memory = CacheMemory(mmap.mmap(-1, 64 << 10))
    digests = [os.urandom(16) for _ in range(300)]
    for number, digest in enumerate(digests):
        lock, first, second, bucket, _ = memory.place_of(digest)
        free = [at for at in range(bucket, bucket + WAYS) if not memory.words[at]]
        if not free:
            continue
        at = free[0]
        memory.mark(bucket)
        memory.enter(first, second, at)
        memory.words[memory.record(at) + SIZE] = number + 1
        assert memory.find(first, second, bucket) == at
        assert memory.bucket_of(at) == (bucket, at - bucket)
        assert memory.digest_at(at) == digest
        assert memory.lock_of(at) is lock
    found = {record[SIZE]: memory.digest_at(at) for at, record in memory.records()}
    assert len(found) > 200
    assert all(digests[size - 1] == digest for size, digest in found.items())
    used = {memory.bucket_of(at)[0] for at, _ in memory.records()}
    assert {memory.random_bucket() for _ in range(20 * len(used))} == used


def test_buckets_without_entries_are_not_looked_at():
    """So a large zone costs no more memory than its keys."""
    memory = CacheMemory(mmap.mmap(-1, 64 << 20))
    memory.random_bucket()
    assert not list(memory.records())
    _, first, second, bucket, _ = memory.place_of(os.urandom(16))
    memory.mark(bucket)
    memory.enter(first, second, bucket + 3)
    assert [at for at, _ in memory.records()] == [bucket + 3]
    assert memory.random_bucket() == bucket


@pytest.mark.parametrize("uses", [0, 1, 1023, 5000])
def test_a_state_has_its_parts(uses):
    state = state_of(PRESENT | EXISTS, uses, 504, 65535)
    assert (uses_of(state), status_of(state), body_start_of(state)) == (min(uses, 1023), 504, 65535)
    assert state & PRESENT and state & EXISTS and not state & PENDING
    assert state < 1 << 63 and STATE < RECORD_WORDS


def test_counts_of_all_workers_are_added_up():
    counters = CacheCounters(mmap.mmap(-1, COUNTERS_SIZE))
    for slot in (0, 3, 511):
        counters.words[slot * 24 + column(MISS)] = 2
        counters.words[slot * 24 + column(EXPIRED) + 3] = slot
    counters.words[column(HIT) + 1] = 9
    shown = as_json(counters.totals())
    assert shown["miss"] == {"responses": 6, "bytes": 0, "responses_written": 0, "bytes_written": 0}
    assert shown["expired"]["bytes_written"] == 514
    assert shown["hit"] == {"responses": 0, "bytes": 9}
    assert list(shown) == ["hit", "stale", "updating", "revalidated", "miss", "expired", "bypass"]
    counters.reset()
    counters.words[3 * 24 + column(MISS)] += 5
    again = as_json(counters.totals())
    assert (again["miss"]["responses"], again["expired"]["bytes_written"], again["hit"]["bytes"]) == (5, 0, 0)
