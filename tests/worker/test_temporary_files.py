"""Temporary files: nothing of them is left behind, and a disk that is full loses no byte."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conversation import small_disk

import worker.temporary_files
from worker.pipes import Pipe, make_pipe
from worker.temporary_files import LATER, DiskTrouble, TemporaryFile, hashed_name
from wproxy.directives.request_body import CLEAN, KEPT
from wproxy.directives.temporary_path import TemporaryPath


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = make_pipe()
    assert made is not None
    yield made
    made.close()


@pytest.fixture(params=["nameless", "unlinked"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can make files without a name, and one that cannot."""
    if request.param == "unlinked":
        real_open = os.open

        def refuse(path: str, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "Operation not supported")
            return real_open(path, flags, mode)

        monkeypatch.setattr(worker.temporary_files.os, "open", refuse)


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_a_file_that_is_open_has_no_name(file_system: None, tmp_path: Path) -> None:
    """So that a worker that is killed leaves nothing."""
    file = TemporaryFile(TemporaryPath(str(tmp_path / "new"), (1, 2)))
    file.write(b"some bytes")
    assert file.read(5, 100) == b"bytes"
    assert file.name.startswith(f"{tmp_path}/new/")
    assert files_below(tmp_path) == []
    file.close()


def test_without_a_place_it_has_no_name_either(file_system: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.temporary_files, "PLACES", (str(tmp_path / "not there"), "/proc", str(tmp_path)))
    file = TemporaryFile(None)
    assert file.name.startswith(f"{tmp_path}/")
    assert files_below(tmp_path) == []
    file.close()


@pytest.mark.parametrize(("mode", "is_kept"), [(KEPT, True), (CLEAN, False)])
def test_a_file_with_a_name(tmp_path: Path, mode: str, is_kept: bool) -> None:
    file = TemporaryFile(TemporaryPath(str(tmp_path)), mode)
    file.write(b"x")
    assert Path(file.name).read_bytes() == b"x"
    file.close()
    file.close()
    assert Path(file.name).exists() == is_kept


def test_a_file_whose_name_was_taken_away_closes_in_peace(tmp_path: Path) -> None:
    file = TemporaryFile(TemporaryPath(str(tmp_path)), CLEAN)
    os.unlink(file.name)
    file.close()


def test_the_levels_are_the_end_of_the_number() -> None:
    assert hashed_name(TemporaryPath("/t", (1, 2)), "0000000123") == "/t/3/12/0000000123"


@pytest.mark.parametrize("knows_splice", [True, False])
def test_a_full_disk_loses_nothing_of_what_a_pipe_holds(pipe: Pipe, monkeypatch: pytest.MonkeyPatch, knows_splice: bool) -> None:
    if not knows_splice:

        def refuse(self: Pipe, file: int, offset: int) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(Pipe, "drain_to_file", refuse)
    data = os.urandom(5000)
    pipe.held = os.write(pipe.write_end, data)
    file = TemporaryFile(None)
    with small_disk(1000), pytest.raises(DiskTrouble) as trouble:
        file.take_out(pipe)
    assert str(trouble.value) == "27: File too large"
    assert file.size <= 1000
    assert file.read(0, 5000) + pipe.read() == data
    file.close()


def test_an_emptied_file_is_written_anew() -> None:
    file = TemporaryFile(None)
    file.write(b"one")
    file.empty()
    file.write(b"other")
    assert (file.read(0, 100), file.size, os.fstat(file.fileno).st_size) == (b"other", 5, 5)
    file.close()


def test_files_of_two_workers_with_the_same_number_get_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, files = TemporaryPath(str(tmp_path)), []
    for body in (b"one", b"two"):
        monkeypatch.setattr(worker.temporary_files, "_numbers", 41)  # forked from the same master
        files.append(TemporaryFile(place, LATER))
        files[-1].write(body)
    (tmp_path / "0000000042").write_bytes(b"of a worker that was killed")
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"to be replaced")
    for file in files:
        file.place(str(tmp_path / file.read(0, 3).decode()), 0o600, None)
        file.close()
    assert [(tmp_path / name).read_bytes() for name in ("one", "two")] == [b"one", b"two"]
