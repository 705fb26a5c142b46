"""Names that a user whom root does not trust may have made something else of."""

import os
import socket
import stat

import pytest

from wproxy.safe_open import ANYBODY, Distrusted, make_directory, reach

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has somebody to distrust")

WORKER, OTHER, ADMINS = 7001, 7002, 7003
USER = Distrusted(WORKER, frozenset((WORKER, ADMINS)))


@pytest.fixture
def logs(tmp_path):
    """A directory that belongs to the worker's user, reached through directories that only root may write to."""
    directory = tmp_path / "logs"
    directory.mkdir()
    os.chown(directory, WORKER, WORKER)
    (tmp_path / "secret").write_text("root's")
    return directory


def owned(path, user):
    """The same path, belonging to that user itself, be it a link."""
    os.chown(path, user, user, follow_symlinks=False)
    return path


def linked(path, target, user):
    """A symbolic link that this user has made."""
    path.symlink_to(target)
    return owned(path, user)


def append(path, user=USER, makes=False):
    with reach(str(path), user, makes) as place:
        fileno = place.open(os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(fileno, b"line")
        finally:
            os.close(fileno)


def is_refused(path, user=USER):
    with pytest.raises(OSError, match=r"users other than root may have made|right owner") as refused:
        append(path, user)
    assert refused.value.filename == str(path)
    return True


@pytest.mark.parametrize("user", [USER, ANYBODY], ids=["the worker", "anybody"])
@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777])
def test_a_link_that_the_user_has_made_is_not_followed(logs, tmp_path, user, mode):
    logs.chmod(mode)
    assert is_refused(linked(logs / "access.log", tmp_path / "secret", WORKER), user)
    assert (tmp_path / "secret").read_text() == "root's"


def test_nor_one_on_the_way_nor_one_that_leads_to_what_does_not_exist(logs, tmp_path):
    linked(logs / "sub", tmp_path, WORKER)
    assert is_refused(logs / "sub" / "new.log")
    assert is_refused(linked(logs / "access.log", tmp_path / "new.log", WORKER))
    assert not (tmp_path / "new.log").exists()


def test_a_file_with_a_second_name_is_not_opened(logs, tmp_path):
    os.link(tmp_path / "secret", logs / "access.log")
    assert is_refused(logs / "access.log")


def test_a_link_of_roots_with_a_second_name_is_not_followed(logs, tmp_path):
    (tmp_path / "current").symlink_to(tmp_path / "secret")
    os.link(tmp_path / "current", logs / "access.log", follow_symlinks=False)
    assert is_refused(logs / "access.log")
    assert is_refused(logs / "access.log", ANYBODY)


def test_a_file_of_somebody_else_is_not_opened_where_the_user_could_have_put_it(logs):
    (logs / "access.log").write_text("other's")
    assert is_refused(owned(logs / "access.log", OTHER))


def test_a_fifo_of_the_users_does_not_keep_root_waiting(logs):
    os.mkfifo(logs / "access.log")
    reader = os.open(owned(logs / "access.log", WORKER), os.O_RDONLY | os.O_NONBLOCK)
    assert is_refused(logs / "access.log")
    os.close(reader)
    with reach(str(logs / "access.log"), USER) as place, pytest.raises(OSError, match="right owner"):
        place.open(os.O_RDONLY)


def test_its_own_files_and_roots_are_opened_and_missing_ones_are_made(logs):
    for name, user in (("its own", WORKER), ("root's", 0)):
        (logs / name).touch()
        append(owned(logs / name, user))
    append(logs / "missing")
    append(logs / "deep" / "missing", makes=True)
    assert [(logs / name).read_text() for name in ("its own", "root's", "missing", "deep/missing")] == ["line"] * 4
    with pytest.raises(FileNotFoundError):
        append(logs / "shallow" / "missing")


def test_links_of_roots_are_followed_wherever_they_are(logs, tmp_path):
    (logs / "access.log").symlink_to(tmp_path / "secret")
    append(logs / "access.log")
    assert (tmp_path / "secret").read_text() == "root'sline"
    (logs / "relative").symlink_to("../secret")
    append(logs / "relative")
    assert (tmp_path / "secret").read_text() == "root'slineline"


def test_what_a_followed_link_leads_to_is_judged_by_its_own_directory(logs, tmp_path):
    linked(logs / "real.log", tmp_path / "secret", WORKER)
    (tmp_path / "access.log").symlink_to(logs / "real.log")
    assert is_refused(tmp_path / "access.log")


@pytest.mark.parametrize("target", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1", "/dev/null"])
def test_the_standard_streams_and_devices_are_logs_behind_links_of_roots(logs, target):
    """In images of containers root makes access.log a link to /dev/stdout, in a directory of the user's."""
    (logs / "access.log").symlink_to(target)
    append(logs / "access.log")
    append(target)


def test_where_the_user_may_not_write_names_mean_what_they_say(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    other.chmod(0o775)
    os.chown(other, OTHER, OTHER)
    (tmp_path / "release").mkdir()
    linked(other / "current", tmp_path / "release", OTHER)
    append(other / "current" / "access.log")
    os.link(tmp_path / "release" / "access.log", tmp_path / "second")
    append(tmp_path / "second")
    assert (tmp_path / "second").read_text() == "lineline"


def test_it_may_write_by_being_in_the_group_or_by_an_acl(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    os.chown(other, OTHER, ADMINS)
    linked(other / "access.log", tmp_path / "secret", WORKER)
    (tmp_path / "secret").touch()
    append(other / "access.log")  # the group may only read
    other.chmod(0o775)
    assert is_refused(other / "access.log")
    os.chown(other, OTHER, OTHER)
    append(other / "access.log")
    entry = {"user": 1, "named": 2, "group": 4, "mask": 16, "other": 32}
    nobody = 0xFFFFFFFF
    rows = [("user", 7, nobody), ("named", 7, WORKER), ("group", 5, nobody), ("mask", 7, nobody), ("other", 5, nobody)]
    acl = (2).to_bytes(4, "little")
    for kind, rights, whom in rows:
        acl += entry[kind].to_bytes(2, "little") + rights.to_bytes(2, "little") + whom.to_bytes(4, "little")
    try:
        os.setxattr(other, "system.posix_acl_access", acl)
    except OSError:
        pytest.skip("this file system has no lists of rights")
    assert is_refused(other / "access.log")


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="Too many levels"):
        append(tmp_path / "a")
    with pytest.raises(IsADirectoryError):
        append("/")


def test_no_descriptor_is_left_open(logs, tmp_path):
    linked(logs / "bad", tmp_path / "secret", WORKER)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("sub/../sub")
    before = os.listdir("/proc/self/fd")
    for path in ("logs/bad", "logs/new", "link/new", "link/none/new", "secret/new", "logs/new/deeper"):
        try:
            append(tmp_path / path)
        except OSError:
            pass
    assert os.listdir("/proc/self/fd") == before


def test_nobody_is_distrusted_by_those_who_are_not_root(logs, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: WORKER)
    append(linked(logs / "access.log", tmp_path / "secret", WORKER))
    assert (tmp_path / "secret").read_text() == "root'sline"


def test_a_directory_is_made_and_given_away_but_never_anothers(logs, tmp_path):
    make_directory(str(logs / "a" / "b"), USER, (WORKER, WORKER))
    assert os.stat(logs / "a" / "b").st_uid == WORKER
    assert os.stat(logs / "a").st_uid == 0
    (tmp_path / "etc").mkdir()
    linked(logs / "link", tmp_path / "etc", WORKER)
    with pytest.raises(OSError, match="users other than root"):
        make_directory(str(logs / "link" / "new"), USER, (WORKER, WORKER))
    make_directory(str(tmp_path / "etc"), USER, (WORKER, WORKER))  # it is there, and stays as it is
    assert os.stat(tmp_path / "etc").st_uid == 0


def test_a_socket_is_no_log(logs):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(logs / "access.log"))
    assert stat.S_ISSOCK(os.stat(logs / "access.log").st_mode)
    with pytest.raises(OSError, match="No such device"):
        append(logs / "access.log")
