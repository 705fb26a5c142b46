"""dav_methods beside the real nginx: the statuses, and what is on the disk afterwards (subrequests.md §7.8)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from like_nginx import Comparison, ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

SITE = """
server {
    listen 127.0.0.1:PORT; root DIR/files; dav_methods PUT DELETE MKCOL COPY MOVE;
    location /full/ { create_full_put_path on; dav_access user:rw group:rw all:r; }
    location /deep/ { min_delete_depth 3; }
    location /some/ { dav_methods PUT; }
    location /none/ { dav_methods off; }
    location /denied/ { deny all; }
    location /alias/ { alias DIR/files/dir/; }
}
"""

CASES = [
    ask("/new", method="PUT", body="text"),
    ask("/new", method="PUT", body="other text"),
    ask("/new"),
    ask("/dated", "Date: Sun, 09 Sep 2001 01:46:40 GMT", method="PUT", body="text"),
    ask("/dated"),
    ask("/empty", "Content-Length: 0", method="PUT"),
    ask("/empty"),
    ask("/lengthless", method="PUT"),
    b"PUT /chunked HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ask("/chunked"),
    ask("/dir", method="PUT", body="text"),
    ask("/dir/", method="PUT", body="text"),
    ask("/part", "Content-Range: bytes 0-3/10", method="PUT", body="text"),
    ask("/gone/file", method="PUT", body="text"),
    ask("/full/a/b/file", method="PUT", body="text"),
    ask("/full/a/b/file/below", method="PUT", body="text"),
    ask("/full/a/b/file/below/it", method="PUT", body="text"),
    ask("/with%20blank", method="PUT", body="text"),
    ask("/some/file", method="PUT", body="text"),
    ask("/some/file", method="DELETE"),
    ask("/none/file", method="PUT", body="text"),
    ask("/none/file", method="MKCOL"),
    ask("/denied/file", method="PUT", body="text"),
    ask("/alias/file2", method="PUT", body="text"),
    ask("/dir/file2"),
    ask("/made/", method="MKCOL"),
    ask("/made/", method="MKCOL"),
    ask("/made", method="MKCOL"),
    ask("/gone/made/", method="MKCOL"),
    ask("/made2/", method="MKCOL", body="x"),
    ask("/new", "Destination: /copied", method="COPY"),
    ask("/new", "Destination: /copied", "Overwrite: F", method="COPY"),
    ask("/new", "Destination: http://h/copied2", method="COPY"),
    ask("/new", "Destination: http://h:8080/copied3", method="COPY"),
    ask("/new", "Destination: http://other/copied2", method="COPY"),
    ask("/new", "Destination: http://other:80/copied2", method="COPY"),
    ask("/new", "Destination: /gone2/copied", method="COPY"),
    ask("/new", "Destination: /../x", method="COPY"),
    ask("/new", "Destination: copied", method="COPY"),
    ask("/new", method="COPY"),
    ask("/new", "Destination: /x", "Overwrite: maybe", method="COPY"),
    ask("/new", "Destination: /x", "Depth: 1", method="COPY"),
    ask("/new", "Destination: /x/", method="COPY"),
    ask("/new", "Destination: /dir", method="COPY"),
    ask("/new", "Destination: /denied/copied", method="COPY"),
    ask("/missing", "Destination: /x", method="COPY"),
    ask("/dir/", "Destination: /dir2/", method="COPY"),
    ask("/dir2/inner/file"),
    ask("/dir/", "Destination: /dir3/", "Depth: 0", method="COPY"),
    ask("/dir3/file2"),
    ask("/dir", "Destination: /dir4", method="COPY"),
    ask("/copied", "Destination: /moved", method="MOVE"),
    ask("/copied", "Destination: /moved", method="MOVE"),
    ask("/moved", "Destination: /far/away/moved", method="MOVE"),
    ask("/dir2/", "Destination: /dir5/", method="MOVE"),
    ask("/dir5/inner/file"),
    ask("/dir5/", "Destination: /dir3/", method="MOVE"),
    ask("/dir3/", "Destination: /dir5/", "Depth: 0", method="MOVE"),
    ask("/new", method="DELETE", body="x"),
    ask("/new", method="DELETE"),
    ask("/new", method="DELETE"),
    ask("/dated/below", method="DELETE"),
    ask("/dir3", method="DELETE"),
    ask("/dir3/", "Depth: 1", method="DELETE"),
    ask("/dir3/", "Depth: infinity", method="DELETE"),
    ask("/deep/file", method="DELETE"),
    ask("/deep/a/file", method="DELETE"),
    ask("/dated", "Depth: 1", method="DELETE"),
    ask("/dated", "Depth: what", method="DELETE"),
]


def tree_of(directory: Path) -> dict[str, tuple[int, str]]:
    """The mode and the contents of all files below a directory."""
    found = {}
    for at, names, files in os.walk(directory):
        for name in (*names, *files):
            path = Path(at) / name
            found[str(path.relative_to(directory))] = (path.stat().st_mode, path.read_text() if path.is_file() else "")
    return found


def fill(files: Path) -> None:
    for name in ("dir/inner", "some", "none", "denied", "full", "deep/a"):
        (files / name).mkdir(parents=True)
    for name in ("dir/inner/file", "some/file", "deep/file", "deep/a/file"):
        (files / name).write_text(f"contents of {name}\n")
    for path in (files, *files.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
        os.utime(path, (1e9, 1e9))


@needs_nginx
def test_files_are_changed_as_nginx_does(same_as_nginx: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    import like_nginx

    trees = []
    for name in ("ask_nginx", "ask_worker"):
        real = getattr(like_nginx, name)

        def around(site, *arguments, real=real):
            files = site.directory / "files"
            before = os.umask(0)  # as a daemon has it
            try:
                fill(files)
                answers = real(site, *arguments)
            finally:
                os.umask(before)
            trees.append(tree_of(files))
            for path in sorted(files.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            files.rmdir()
            return [(without_time(answer), []) for answer, _ in answers]

        monkeypatch.setattr(like_nginx, name, around)
    same_as_nginx(SITE, CASES)
    assert trees[0] == trees[1]


def without_time(answer: str) -> str:
    """An answer without the time and the tag of a file that has just been written."""
    head, blank, body = answer.partition("\r\n\r\n")
    lines = [line for line in head.split("\r\n") if not line.startswith(("Last-Modified: ", "ETag: ")) or "2001" in line]
    return "\r\n".join(lines) + blank + body


def test_nobody_sees_half_a_file_and_a_broken_upload_leaves_none(front, tmp_path):
    s = front(f"client_max_body_size 0; server {{ listen 127.0.0.1:8080; root {tmp_path}; dav_methods PUT; }}")
    (tmp_path / "file").write_text("old")
    client = s.client().send(b"PUT /file HTTP/1.1\r\nHost: h\r\nContent-Length: 400000\r\n\r\n" + b"x" * 200000)
    assert (tmp_path / "file").read_text() == "old"
    client.close()
    assert (tmp_path / "file").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "0"}
    other = s.client().send(b"PUT /file HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nnew")
    assert other.receives_head().startswith(b"HTTP/1.1 204 ")
    assert (tmp_path / "file").read_text() == "new"
