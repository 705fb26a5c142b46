"""Caches of open files, and paths without symbolic links."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.made_requests import make_client, make_request
from worker.content.kept_files import KeptFile
from worker.content.open_files import Access
from worker.content.opening import access_of
from worker.content.symlinks import begin_of, open_walking
from wproxy.directives.open_file_cache import FileCache, disable_symlinks, open_file_cache
from wproxy.http import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def make(clock: Clock) -> Callable[..., tuple[Access, Any, FileCache]]:
    """Access with a cache, a request, and the cache."""

    def build(text: str = "max=10", valid: float = 60, least: int = 1, errors: bool = False, links: str = "off") -> Any:
        cache = open_file_cache(*text.split())
        location: Any = SimpleNamespace(
            open_file_cache=cache,
            open_file_cache_valid=valid,
            open_file_cache_min_uses=least,
            open_file_cache_errors=errors,
            disable_symlinks=disable_symlinks(links),
        )
        return access_of(location), make_request(client=make_client(clock)), cache

    return build


@pytest.fixture
def path(tmp_path: Path) -> bytes:
    (tmp_path / "file").write_bytes(b"old")
    return str(tmp_path / "file").encode()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def replace(path: bytes, content: bytes) -> None:
    with open(path + b".new", "wb") as file:
        file.write(content)
    os.rename(path + b".new", path)


def test_a_file_is_opened_once(make, path):
    access, request, _ = make()
    first = access.open(request, path)
    first.close()
    second = access.open(request, path)
    assert second is first
    assert is_open(second.fd)


def test_what_is_kept_is_believed_until_it_is_no_longer_valid(make, path, clock):
    access, request, _ = make(valid=10)
    access.open(request, path).close()
    replace(path, b"renewed")
    clock.now += 9
    assert access.open(request, path).size == 3
    clock.now += 1
    renewed = access.open(request, path)
    assert renewed.size == 7
    assert os.pread(renewed.fd, 10, 0) == b"renewed"


def test_a_file_that_grew_keeps_its_descriptor(make, path, clock):
    access, request, _ = make(valid=10)
    first = access.open(request, path)
    fd = first.fd
    with open(path, "ab") as file:
        file.write(b"er")
    clock.now += 11
    again = access.open(request, path)
    assert (again.fd, again.size) == (fd, 5)


def test_a_file_that_is_being_sent_outlives_its_place_in_the_cache(make, path, clock):
    access, request, _ = make(valid=10)
    held = access.open(request, path)
    replace(path, b"renewed")
    clock.now += 11
    access.open(request, path).close()
    assert os.pread(held.fd, 10, 0) == b"old"
    fd = held.fd
    held.close()
    assert not is_open(fd) or os.fstat(fd).st_size == 7


def test_the_file_asked_for_least_recently_makes_room(make, path, tmp_path, clock):
    access, request, cache = make("max=2")
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"")
    files = {}
    for name in ("a", "b", "a", "c"):
        files[name] = access.open(request, str(tmp_path / name).encode())
        files[name].close()
    assert [os.path.basename(key) for key in cache.store.kept] == [b"a", b"c"]
    assert files["b"].fd < 0
    assert files["a"].fd >= 0


def test_a_file_that_nobody_asks_for_is_closed(make, path, tmp_path, clock):
    access, request, cache = make("max=5 inactive=20s")
    file = access.open(request, path)
    file.close()
    clock.now += 21
    with pytest.raises(FileNotFoundError):
        access.open(request, b"/nowhere")
    assert file.fd < 0
    assert not cache.store.kept


def test_a_file_is_kept_open_from_the_use_on_that_min_uses_says(make, path):
    access, request, _ = make(least=3)
    files = []
    for _ in range(4):
        files.append(access.open(request, path))
        files[-1].close()
    assert [isinstance(file, KeptFile) for file in files] == [False, False, True, True]


@pytest.mark.parametrize("errors", [False, True])
def test_errors_are_kept_only_if_asked_for(make, path, clock, errors):
    access, request, _ = make(valid=10, errors=errors)
    missing = path + b"2"
    for look in (access.open, access.look):
        with pytest.raises(FileNotFoundError):
            look(request, missing)
    replace(missing, b"here")
    if errors:
        with pytest.raises(FileNotFoundError):
            access.open(request, missing)
        clock.now += 11
    assert access.open(request, missing).size == 4


def test_directories_and_files_are_told_apart_from_what_is_kept(make, path, tmp_path):
    access, request, _ = make()
    for _ in range(2):
        assert access.look(request, str(tmp_path).encode())
        assert not access.look(request, path)
    access.open(request, path).close()
    assert not access.look(request, path)


def test_locations_that_inherit_a_cache_share_it(make, path):
    access, request, cache = make()
    file = access.open(request, path)
    other: Any = SimpleNamespace(
        open_file_cache=cache,
        open_file_cache_valid=60,
        open_file_cache_min_uses=1,
        open_file_cache_errors=False,
        disable_symlinks=None,
    )
    assert access_of(other).open(request, path) is file


def test_what_one_policy_found_is_not_for_another(make, path, tmp_path):
    os.symlink("file", tmp_path / "link")
    access, request, cache = make()
    access.open(request, str(tmp_path / "link").encode()).close()
    strict: Any = SimpleNamespace(
        open_file_cache=cache,
        open_file_cache_valid=60,
        open_file_cache_min_uses=1,
        open_file_cache_errors=False,
        disable_symlinks=disable_symlinks("on"),
    )
    with pytest.raises(OSError) as refusal:
        access_of(strict).open(request, str(tmp_path / "link").encode())
    assert refusal.value.errno == errno.ELOOP


@pytest.mark.parametrize(
    ("path", "trusted", "begin"),
    [
        (b"/a/b/c", b"", 0),
        (b"/a/b/c", b"/a", 2),
        (b"/a/b/c", b"/a/", 2),
        (b"/a/b/c", b"/a/b/c", None),
        (b"/a/b/c", b"/x", 0),
        (b"/ab/c", b"/a", 0),
    ],
)
def test_only_whole_names_at_the_beginning_are_trusted(path, trusted, begin):
    assert begin_of(path, trusted) == begin


def test_a_walk_leaves_no_descriptor_behind(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file").write_bytes(b"x")
    os.symlink("d", tmp_path / "link")
    before = set(os.listdir("/proc/self/fd"))
    for name, by_owner in (("d/file", False), ("link/file", True)):
        os.close(open_walking(str(tmp_path / name).encode(), b"", by_owner, os.O_RDONLY))
    for name in ("link/file", "none", "d/none"):
        with pytest.raises(OSError):
            open_walking(str(tmp_path / name).encode(), b"", False, os.O_RDONLY)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_link_that_is_swapped_while_it_is_judged_is_never_followed_unjudged(tmp_path, monkeypatch):
    """The owner's link becomes somebody else's between the two looks: what is followed is the one that was judged."""
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "theirs").write_bytes(b"theirs")
    link = tmp_path / "link"
    os.symlink("mine", link)
    real = os.readlink

    def swap(path, *, dir_fd=None):
        link.unlink()
        os.symlink("theirs", link)
        return real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "readlink", swap)
    fd = open_walking(str(link).encode(), b"", True, os.O_RDONLY)
    assert os.read(fd, 10) == b"mine"
    os.close(fd)
