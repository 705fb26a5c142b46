"""What requests find in the cache, alone and beside those of other workers."""

from __future__ import annotations

import os
import resource
import shutil
from hashlib import md5
from pathlib import Path

import pytest
from stores import Place, body_of, got, head_of, key_of, put, store, values

from worker.cache.use import ABSENT, EXPIRED, FAILED, SCARCE, UPDATING, VALID, Use
from worker.temporary_files import DiskTrouble
from wproxy.cache.header import BadFile, Header
from wproxy.cache.memory import EXISTS, SIZE, STATE

LARGE = bytes(range(256)) * 1000


def state(use: Use) -> int:
    found = use.state
    use.end()
    return found


@pytest.mark.parametrize("body", [b"", b"small", LARGE])
def test_a_stored_response_is_found_by_every_worker(place, body):
    one, two = place.worker(0), place.worker(1)
    assert state(one.look_up(key_of("k"))) == ABSENT
    put(one, "k", body)
    for cache in (one, two):
        use = cache.look_up(key_of("k"))
        assert (use.state, body_of(use)) == (VALID, body)
        assert use.stored.head == head_of(body)
        use.end()
        assert use.stored is None
    (file,) = place.files()
    assert str(file) == place.zone.file(key_of("k").digest)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_response_that_is_not_finished_is_never_there(place):
    one, two = place.worker(0), place.worker(1)
    use = one.look_up(key_of("k"))
    writing = use.begin(Header(valid_sec=1 << 40), head_of(b"body"))
    writing.write(b"bo")
    assert state(two.look_up(key_of("k"))) == ABSENT
    writing.abandon()
    use.end()
    assert not writing.finish()
    assert place.files() == []
    assert state(two.look_up(key_of("k"))) == ABSENT


def test_a_reader_keeps_what_it_has_opened(place):
    cache = place.worker()
    put(cache, "k", LARGE)
    use = cache.look_up(key_of("k"))
    put(cache, "k", b"new")
    assert got(cache, "k") == b"new"
    assert place.run(cache.purge(key_of("k")))
    assert body_of(use) == LARGE
    use.end()
    assert got(cache, "k") is None


def test_the_first_request_updates_an_expired_response_and_others_know(place):
    one, two = place.worker(0), place.worker(1)
    put(one, "k", b"old", valid=10)
    place.pass_time(11)
    first, second, third = one.look_up(key_of("k")), one.look_up(key_of("k")), two.look_up(key_of("k"))
    assert [first.state, second.state, third.state] == [EXPIRED, UPDATING, UPDATING]
    assert body_of(third) == b"old"
    assert store(first, b"new")
    assert state(two.look_up(key_of("k"))) == VALID
    for use in (first, second, third):
        use.end()
    assert got(two, "k") == b"new"


def test_an_update_that_comes_to_nothing_is_up_to_the_next_request(place):
    one, two = place.worker(0), place.worker(1)
    put(one, "k", b"old", valid=10)
    place.pass_time(11)
    one.look_up(key_of("k")).end()
    use = two.look_up(key_of("k"))
    assert use.state == EXPIRED
    place.live(1, 0)
    use = one.look_up(key_of("k"))
    assert use.state == EXPIRED, "the worker that was to update it is dead"


def test_a_revalidated_response_has_other_times(place):
    cache = place.worker()
    put(cache, "k", LARGE, valid=10)
    place.pass_time(11)
    use = cache.look_up(key_of("k"))
    other = cache.look_up(key_of("k"))
    assert use.update_header(Header(valid_sec=int(place.loop.clock.wall) + 10, date=7, last_modified=5))
    fresh = cache.look_up(key_of("k"))
    assert (fresh.state, fresh.stored.header.date, body_of(fresh)) == (VALID, 7, LARGE)
    put(cache, "k", b"another")
    assert not other.update_header(Header(valid_sec=1)), "it is another response by now"
    assert got(cache, "k") == b"another"
    for each in (use, other, fresh):
        each.end()


def test_requests_are_counted_until_there_are_enough(place):
    one, two = place.worker(0), place.worker(1)
    states = [state(cache.look_up(key_of("k"), 3)) for cache in (one, two, one)]
    assert states == [SCARCE, SCARCE, ABSENT]
    use = one.look_up(key_of("other"), 2)
    use.again()
    assert state(use) == SCARCE, "a request counts once"
    use = two.look_up(key_of("k"), 3)
    assert store(use, b"x")
    use.end()
    os.unlink(place.files()[0])
    assert state(one.look_up(key_of("k"), 3)) == ABSENT, "requests count although the file was deleted"


def test_a_failure_is_remembered_for_a_while(place):
    one, two = place.worker(0), place.worker(1)
    use = one.look_up(key_of("k"))
    use.remember_failure(502, place.loop.clock.wall + 10)
    use.end()
    use = two.look_up(key_of("k"))
    assert (use.state, use.status) == (FAILED, 502)
    place.pass_time(11)
    assert state(two.look_up(key_of("k"))) == ABSENT
    use = one.look_up(key_of("k"))
    use.remember_failure(504, place.loop.clock.wall + 10)
    assert store(use, b"better")
    assert got(two, "k") == b"better"


def variant(language: bytes):
    return lambda vary: md5(vary + language, usedforsecurity=False).digest()


def test_variants_have_files_of_their_own(place):
    cache = place.worker()
    bodies = {b"en": b"hello", b"de": b"hallo", b"fr": b"salut"}
    for language, body in bodies.items():
        use = cache.look_up(key_of("k"), 1, variant(language))
        assert use.state == ABSENT
        assert store(use, body, 10, b"Accept-Language", variant(language)(b"Accept-Language"))
        use.end()
    assert len(place.files()) == 3
    for language, body in bodies.items():
        use = cache.look_up(key_of("k"), 1, variant(language))
        assert (use.state, body_of(use)) == (VALID, body)
        use.end()
    assert body_of(cache.look_up(key_of("k"))) == b"hello"
    place.pass_time(11)
    use = cache.look_up(key_of("k"), 1, variant(b"de"))
    assert (use.state, body_of(use)) == (EXPIRED, b"hallo")
    assert store(use, b"no longer varies")
    use.end()
    assert got(cache, "k") == b"no longer varies"
    assert place.run(cache.purge(key_of("k")))


def test_a_purge_takes_all_variants(place):
    cache = place.worker()
    for language in (b"en", b"de"):
        use = cache.look_up(key_of("k"), 1, variant(language))
        assert store(use, language, 10, b"A", variant(language)(b"A"))
        use.end()
    put(cache, "kk", b"another key")
    assert place.run(cache.purge(key_of("k")))
    assert not place.run(cache.purge(key_of("k")))
    assert len(place.files()) == 1 and got(cache, "kk") == b"another key"


def test_a_purge_of_keys_that_begin_alike(place):
    cache = place.worker()
    for number in range(120):
        put(cache, f"/a/{number}", b"x")
    put(cache, "/b", b"x")
    assert len(place.run(cache.entries(b"/a/", 7))) == 7
    assert {entry.key for entry in place.run(cache.entries(b"/a/11"))} == {b"/a/11", *(b"/a/%d" % n for n in range(110, 120))}
    assert place.run(cache.purge_matching(b"/a/")) == 120
    assert [entry.key for entry in place.run(cache.entries())] == [b"/b"]
    assert len(place.files()) == 1


# One request for all.


def test_one_request_of_all_workers_fetches_and_the_others_wait_for_it(place):
    one, two = place.worker(0), place.worker(1)
    first = one.look_up(key_of("k"))
    assert first.lock(5)
    states: list[int] = []

    async def ask(cache) -> None:
        use = cache.look_up(key_of("k"))
        while use.state == ABSENT and not use.lock(5):
            assert await use.wait(5)
            use.again()
        states.append(use.state)
        use.end()

    for cache in (one, two) * 20:
        place.loop.spawn(ask(cache), "ask")
    place.pass_time(0.1)
    assert states == []
    assert store(first, b"body")
    place.pass_time(0)
    assert states == [VALID] * 40, "they are woken, not waiting for the next look"
    first.end()


def test_when_the_request_fails_another_one_fetches(place):
    one, two = place.worker(0), place.worker(1)
    first = one.look_up(key_of("k"))
    assert first.lock(5)
    second = two.look_up(key_of("k"))
    assert not second.lock(5)
    first.end()
    assert second.lock(5)
    second.end()
    assert not list(place.zone.memory.records()), "an entry about nothing does not stay"


def test_waiting_ends_with_the_time_the_age_and_the_death_of_the_holder(place):
    one, two = place.worker(0), place.worker(1)
    holder = one.look_up(key_of("k"))
    assert holder.lock(100)
    use = two.look_up(key_of("k"))
    assert not use.lock(100)
    assert place.run(use.wait(2)) is False
    place.live(0, 0)
    assert place.run(use.wait(100)) is True
    assert use.lock(3)
    third = two.look_up(key_of("k"))
    assert not third.lock(3)
    assert place.run(third.wait(100)) is True, "its age is over"
    assert third.lock(3)
    use.end()
    assert not two.look_up(key_of("k")).lock(3), "who is late gives nothing back"


def test_a_response_that_came_before_the_lock_is_found(place):
    one, two = place.worker(0), place.worker(1)
    late = two.look_up(key_of("k"))
    put(one, "k", b"body")
    assert not late.lock(5)
    assert place.run(late.wait(5)) is True
    late.again()
    assert (late.state, body_of(late)) == (VALID, b"body")
    late.end()


# Bad files and bad disks.


def spoil_truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def spoil_foreign(file: Path) -> None:
    file.write_bytes(b"<html>" * 500)


def spoil_empty(file: Path) -> None:
    file.write_bytes(b"")


def spoil_deleted(file: Path) -> None:
    file.unlink()


def spoil_other_key(file: Path) -> None:
    data = file.read_bytes().replace(b"KEY: k\n", b"KEY: j\n")
    file.write_bytes(data)


def spoil_head(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"200 OK", b"404 No"))


def spoil_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("spoil", [value for name, value in sorted(globals().items()) if name.startswith("spoil_")])
def test_a_file_that_is_not_the_whole_response_is_no_response(place, spoil):
    cache = place.worker()
    put(cache, "k", b"body")
    spoil(place.files()[0])
    use = cache.look_up(key_of("k"))
    assert use.state == ABSENT
    assert not os.path.lexists(place.zone.file(key_of("k").digest))
    assert bool(place.said) == (spoil is not spoil_deleted)
    assert sum(values(place.zone.memory, SIZE)) == 0
    assert store(use, b"again")
    use.end()
    assert got(cache, "k") == b"again"


def test_a_directory_in_the_place_of_a_file_costs_only_the_caching(place):
    cache = place.worker()
    put(cache, "k", b"body")
    file = place.files()[0]
    file.unlink()
    file.mkdir()
    use = cache.look_up(key_of("k"))
    assert use.state == ABSENT
    assert not store(use, b"again")
    use.end()
    assert state(cache.look_up(key_of("k"))) == ABSENT


@pytest.mark.parametrize("fails", ["open", "unlink"])
def test_a_file_that_cannot_be_read_is_fetched_without_waiting_for_it(place, monkeypatch, fails):
    """It exists, so nobody else fetches it, and looking again does not help: each request goes upstream, and says so once."""
    cache = place.worker()
    put(cache, "k", b"body")
    with monkeypatch.context() as patched:
        if fails == "open":

            def refuse(*_: object) -> int:
                raise PermissionError(13, "Permission denied")

            patched.setattr("worker.cache.store.open_stored", refuse)
        else:
            file = place.files()[0]
            file.unlink()
            file.mkdir()
        for _ in range(2):
            place.said.clear()
            use = cache.look_up(key_of("k"))
            assert use.state == ABSENT and use.lock(5)
            assert place.said.pop().startswith(f'crit: {fails}() "') and len(place.said) == (fails == "unlink")
            use.end()
    if fails == "open":
        use = cache.look_up(key_of("k"))
        assert (use.state, body_of(use)) == (VALID, b"body")
        use.end()


def test_a_response_that_is_always_said_to_be_there_and_never_is_does_not_hold_anybody_up(place, monkeypatch):
    cache = place.worker()
    put(cache, "k", b"body")
    monkeypatch.setattr("worker.cache.store.CacheStore.open", lambda *_: 0)
    use = cache.look_up(key_of("k"))
    looks = 0
    while not use.lock(5):
        assert place.run(use.wait(5)) is True
        use.again()
        looks += 1
    assert looks < 10
    use.end()


def test_a_full_disk_costs_only_the_caching(place):
    """The limit of the size of files stands for the disk."""
    cache = place.worker()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        use = cache.look_up(key_of("k"))
        writing = use.begin(Header(valid_sec=1 << 40), head_of(LARGE))
        with pytest.raises(DiskTrouble):
            writing.write(LARGE)
        writing.abandon()
        with pytest.raises(DiskTrouble):
            use.begin(Header(), b"x" * 2000)
        use.end()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert place.files() == []
    put(cache, "k", LARGE)
    assert got(cache, "k") == LARGE


def test_a_head_that_is_too_long_is_not_stored(place):
    use = place.worker().look_up(key_of("k"))
    with pytest.raises(BadFile):
        use.begin(Header(), b"x" * 70000)
    use.end()


def test_directories_that_were_removed_are_made_again(place):
    cache = place.worker()
    for _ in range(2):
        put(cache, "k", b"body")
        assert got(cache, "k") == b"body"
        shutil.rmtree(place.zone.path)
        assert got(cache, "k") is None


# The index.


def test_a_full_zone_forgets_what_was_used_least_recently_and_deletes_its_file(tmp_path):
    place = Place(tmp_path / "cache", 32 << 10)
    cache = place.worker()
    room = place.zone.memory.entries
    for number in range(room * 2):
        put(cache, f"/{number}", b"x")
        place.pass_time(0.01)
        assert got(cache, "/0") == b"x", "it is used all the time"
    memory = place.zone.memory
    kept = [memory.digest_at(at) for at, record in memory.records() if record[STATE] & EXISTS]
    assert sorted(map(str, place.files())) == sorted(map(place.zone.file, kept))
    assert room * 0.8 < len(kept) <= room
    assert place.said == ["full"], "it is said once"
    late = sum(got(cache, f"/{number}") is not None for number in range(room * 2 - room // 4, room * 2))
    assert late > room // 4 * 0.95
    place.close()


def test_a_cold_zone_finds_the_files_of_its_predecessor(place, tmp_path):
    put(place.worker(), "k", b"body")
    cold = Place(tmp_path / "cache")
    cold.zone.memory.words[7] = 0
    cache = cold.worker()
    assert state(cache.look_up(key_of("other"))) == ABSENT
    use = cache.look_up(key_of("k"), 5)
    assert (use.state, body_of(use)) == (VALID, b"body")
    use.end()
    assert sum(values(cold.zone.memory, SIZE)) == sum(values(place.zone.memory, SIZE)) > 0
    assert got(cache, "k") == b"body"
    cold.close()


def test_sizes_are_counted_as_files_come_and_go(place):
    one, two = place.worker(0), place.worker(1)
    sizes = place.zone.memory
    put(one, "k", b"x")
    small = one.zone.memory.size()
    put(two, "k", LARGE)
    large = two.zone.memory.size()
    assert small < large == sum(values(sizes, SIZE))
    assert large >= len(LARGE)
    put(one, "k", b"y")
    assert one.zone.memory.size() == small
    assert place.run(two.purge(key_of("k")))
    assert one.zone.memory.size() == 0


def test_responses_are_counted_by_status(place):
    from wproxy.cache.counters import EXPIRED, HIT, MISS

    one, two = place.worker(0), place.worker(1)
    one.count(HIT, 10)
    two.count(HIT, 5)
    two.count(MISS, 7, 4)
    one.count(EXPIRED, 3)
    shown = one.status()
    assert shown["hit"] == {"responses": 2, "bytes": 15}
    assert shown["miss"] == {"responses": 1, "bytes": 7, "responses_written": 1, "bytes_written": 4}
    assert shown["expired"]["responses_written"] == 0
    assert (shown["cold"], shown["size"]) == (False, 0)
