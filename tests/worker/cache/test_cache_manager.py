"""The manager keeps the limits of a zone, and the loader finds what was there before."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from stores import Place, got, key_of, put, store, values

from worker.cache.loader import OLD, Loader
from worker.cache.manager import Manager
from wproxy.cache.memory import PENDING, SIZE, STATE, WANTED_WORD
from wproxy.zone_memory import PAGE

BLOCK = 4096


def make(directory: Path, **parameters) -> Place:
    return Place(directory / "cache", **parameters)


def managed(place: Place) -> Manager:
    return Manager(place.worker(7).store)


def sizes(place: Place) -> int:
    return sum(file.stat().st_size for file in place.files())


def test_what_has_not_been_used_for_long_is_deleted_however_fresh(tmp_path):
    place = make(tmp_path, inactive=60.0)
    cache, manager = place.worker(), managed(place)
    put(cache, "old", b"x", valid=10_000)
    place.pass_time(50)
    put(cache, "new", b"x", valid=-10)
    assert place.run(manager.pass_once()) == pytest.approx(10.0, abs=0.5)
    place.pass_time(8)
    pause = place.run(manager.pass_once())
    assert 0 < pause < 2, "the next one is due then"
    assert len(place.files()) == 2
    place.pass_time(4)
    place.run(manager.pass_once())
    assert len(place.files()) == 1 and got(cache, "old") is None
    assert len(list(place.zone.memory.records())) == 1
    place.close()


def test_used_least_recently_goes_first_when_there_is_too_much(tmp_path):
    place = make(tmp_path, max_size=20 * BLOCK)
    cache, manager = place.worker(), managed(place)
    for number in range(20):
        put(cache, f"/{number}", b"x" * 3000)
        place.pass_time(0.01)
    assert not place.zone.memory.words[WANTED_WORD]
    assert got(cache, "/3") is not None
    place.pass_time(0.01)
    put(cache, "/20", b"x" * 3000)
    assert place.zone.memory.words[WANTED_WORD], "the manager is told at once"
    place.run(manager.pass_once())
    assert not place.zone.memory.words[WANTED_WORD]
    assert [n for n in range(21) if got(cache, f"/{n}") is None] == [0]
    assert sum(values(place.zone.memory, SIZE)) == 20 * BLOCK == cache.zone.memory.size()
    place.close()


def test_the_manager_is_woken_by_a_worker_and_works_until_the_limit_is_kept(tmp_path):
    place = make(tmp_path, max_size=30 * BLOCK, manager_files=2, manager_sleep=0.05)
    cache, manager = place.worker(), managed(place)
    place.loop.spawn(manager.run(), "manager")
    place.pass_time(0.1)
    for number in range(60):
        put(cache, f"/{number}", b"x" * 3000)
        if number % 10 == 9:
            place.pass_time(0.01)
    for _ in range(60):
        place.pass_time(0.06)
    assert len(place.files()) == 30
    place.close()


def test_what_is_stored_and_deleted_while_the_manager_counts_is_counted_once(tmp_path):
    place = make(tmp_path)
    cache, manager, memory = place.worker(), managed(place), place.zone.memory
    for number in range(100):
        put(cache, f"/{number}", b"x" * 3000)
    count = manager._count

    def count_while_others_work(region):
        rows = count(region)
        if region == memory.regions // 2:  # half of the regions have been counted
            for number in range(100, 200):
                put(cache, f"/{number}", b"x" * 3000)
            for number in range(40):
                put(cache, f"/{number}", b"x" * 9000)
            for number in range(40, 80):
                digest = key_of(f"/{number}").digest
                assert cache.store.index.remove(cache.store.index.place(digest), place.zone.file(digest))
        return rows

    manager._count = count_while_others_work
    place.run(manager.pass_once())
    assert memory.size() == sum(values(memory, SIZE)) == (160 + 2 * 40) * BLOCK
    place.close()


def test_every_bucket_is_in_one_region_and_has_its_lock(tmp_path):
    place = make(tmp_path, size=1 << 20)
    memory = place.zone.memory
    buckets = [PAGE // 8 + number * memory.bucket_words for number in range(memory.stripes * memory.buckets)]
    for bucket in buckets:
        memory.mark(bucket)
    regions = [[bucket for bucket, _ in memory.rows(region)] for region in range(memory.regions)]
    assert [bucket for region in regions for bucket in region] == buckets
    for region, found in enumerate(regions):
        assert found, "none is empty"
        assert {memory.region_of(bucket + way) for bucket in found for way in range(8)} == {region}
        assert {memory.lock_of(bucket) for bucket in found} == {memory.lock_of_region(region)}
    place.close()


def test_a_worker_helps_when_the_manager_does_not_come_after_it(tmp_path):
    place = make(tmp_path, max_size=1000 * BLOCK)
    cache = place.worker()
    for number in range(2000):
        put(cache, f"/{number}", b"x" * 3000)
    assert len(place.files()) <= 1000 + (256 << 10) // BLOCK + 1
    assert got(cache, "/1999") is not None
    place.close()


def test_the_disk_keeps_its_free_space(tmp_path):
    place = make(tmp_path, min_free=1 << 60)
    put(place.worker(), "k", b"x")
    place.run(managed(place).pass_once())
    assert place.files() == []
    place.close()


def test_a_table_that_is_nearly_full_gets_room(tmp_path):
    place = make(tmp_path, size=32 << 10)
    cache, room = place.worker(), place.zone.memory.entries
    for number in range(room):
        put(cache, f"/{number}", b"x")
    place.run(managed(place).pass_once())
    assert len(place.files()) == int(room * 7 / 8)
    place.close()


def test_an_entry_that_a_killed_worker_left_is_corrected(place):
    cache = place.worker()
    put(cache, "with", b"x")
    put(cache, "without", b"x")
    memory, index = place.zone.memory, cache.store.index
    for key in ("with", "without"):
        record = index.record(index.find(index.place(key_of(key).digest)))
        memory.words[record + STATE] |= PENDING
    os.unlink(place.zone.file(key_of("without").digest))
    place.run(managed(place).pass_once())
    assert not any(state & PENDING for state in values(memory, STATE))
    assert sum(values(memory, SIZE)) == BLOCK
    assert got(cache, "with") == b"x" and got(cache, "without") is None


def test_an_entry_that_is_used_while_the_manager_pauses_stays(tmp_path):
    place = make(tmp_path, inactive=60.0, manager_files=1, manager_sleep=1.0)
    cache, manager = place.worker(), managed(place)
    for key in ("1", "2", "3"):
        put(cache, key, b"x")
        place.pass_time(0.01)
    place.pass_time(70)
    place.loop.spawn(manager.run(), "manager")
    place.pass_time(0)
    assert len(place.files()) == 2
    assert got(cache, "3") == b"x"
    for _ in range(4):
        place.pass_time(1.1)
    assert got(cache, "3") == b"x" and len(place.files()) == 1
    place.close()


# The loader.


def cold(directory: Path, **parameters) -> Place:
    place = Place(directory, **parameters)
    place.zone.memory.words[7] = 0
    return place


def test_the_loader_enters_all_files(place, tmp_path):
    cache = place.worker()
    for number in range(250):
        put(cache, f"/{number}", b"x" * number)
    later = cold(tmp_path / "cache", loader_files=10, loader_sleep=0.05)
    loader = Loader(later.worker(7).store)
    later.run(loader.run())
    assert loader.entered == 250
    assert not later.zone.memory.is_cold
    assert values(later.zone.memory, SIZE).count(BLOCK) == 250
    assert got(later.worker(), "/42") == b"x" * 42
    assert later.said == [f"notice: http file cache: {later.zone.path} {250 * BLOCK / (1 << 20):.3f}M, bsize: 4096"]
    later.run(loader.run())
    assert loader.entered == 250, "once is enough"
    later.close()


def test_the_loader_deletes_what_is_broken_and_leaves_alone_what_is_not_ours(place, tmp_path):
    cache = place.worker()
    for key in ("good", "short", "empty", "foreign"):
        put(cache, key, b"body")
    root = tmp_path / "cache"
    paths = {key: Path(place.zone.file(key_of(key).digest)) for key in ("good", "short", "empty", "foreign")}
    os.truncate(paths["short"], 350)
    os.truncate(paths["empty"], 0)
    paths["foreign"].write_bytes(b"<html>" * 100)
    (root / "index.html").write_text("a web site")
    (root / "pictures").mkdir()
    (root / "pictures" / ("0" * 32)).write_text("not ours")
    shutil.copy(paths["good"], root / ("f" * 32))
    (root / "link").symlink_to("/etc")
    young, old = root / "0000000042", root / f"{'a' * 32}.0000000043"
    young.write_bytes(b"x")
    old.write_bytes(b"x")
    wall = place.time.wall()
    os.utime(young, (wall, wall))
    os.utime(old, (wall - OLD - 60, wall - OLD - 60))
    later = cold(root)
    loader = Loader(later.worker(7).store)
    later.run(loader.run())
    assert loader.entered == 1 and got(later.worker(), "good") == b"body"
    assert [key for key, path in paths.items() if path.exists()] == ["good"]
    assert (root / "index.html").exists() and (root / "pictures" / ("0" * 32)).exists() and (root / ("f" * 32)).exists()
    assert young.exists() and not old.exists()
    assert loader.foreign == 4
    assert sum(line.startswith("crit") for line in later.said) == 3
    later.close()


def test_without_its_directory_a_zone_stays_cold(tmp_path):
    place = cold(tmp_path / "cache")
    (tmp_path / "cache").rmdir()
    place.run(Loader(place.worker(7).store).run())
    assert place.zone.memory.is_cold and "opendir()" in place.said[0]
    place.close()


def test_a_cold_zone_and_the_loader_agree(place, tmp_path):
    put(place.worker(), "k", b"body")
    later = cold(tmp_path / "cache")
    cache = later.worker()
    use = cache.look_up(key_of("k"))
    store(use, b"another body")
    use.end()
    later.run(Loader(later.worker(7).store).run())
    assert got(cache, "k") == b"another body"
    assert values(later.zone.memory, SIZE).count(BLOCK) == 1
    later.close()
