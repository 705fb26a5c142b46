"""Whom the workers run as."""

import grp
import os
import pwd
import shutil

import pytest
from running_master import RunningMaster

from master import capabilities
from master.user import Identity, become, worker_identity
from wproxy.config.tree import ConfigurationError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up rights")


@as_root
def test_a_master_of_root_has_workers_of_nobody():
    nobody = pwd.getpwnam("nobody")
    assert worker_identity(None) == ("nobody", nobody.pw_uid, nobody.pw_gid)


@as_root
@pytest.mark.parametrize("user", [("daemon",), ("daemon", "")])
def test_a_user_alone_brings_its_own_group(user):
    assert worker_identity(user) == ("daemon", pwd.getpwnam("daemon").pw_uid, pwd.getpwnam("daemon").pw_gid)


@as_root
def test_a_group_may_be_named():
    assert worker_identity(("nobody", "daemon")) == (
        "nobody",
        pwd.getpwnam("nobody").pw_uid,
        grp.getgrnam("daemon").gr_gid,
    )


@as_root
@pytest.mark.parametrize(("user", "text"), [(("x y",), 'getpwnam("x y") failed'), (("nobody", "x y"), 'getgrnam("x y") failed')])
def test_an_unknown_name_is_an_error_of_the_configuration(user, text):
    with pytest.raises(ConfigurationError) as error:
        worker_identity(user)
    assert str(error.value) == text


def test_who_is_not_root_has_nothing_to_give_up(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert worker_identity(("x y",)) is None


def test_groups_go_first_because_after_setuid_they_cannot(monkeypatch):
    done = []
    for call in ("initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, call, lambda *arguments, call=call: done.append((call, *arguments)))
    become(Identity("joe", 1000, 100))
    assert done == [("initgroups", "joe", 100), ("setgid", 100), ("setuid", 1000)]


def test_capabilities_are_kept_across_setuid_only_where_they_are_needed(monkeypatch):
    done = []
    for call in ("initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, call, lambda *arguments, call=call: done.append(call))
    monkeypatch.setattr(capabilities, "keep_across_setuid", lambda is_kept: done.append(is_kept))
    monkeypatch.setattr(capabilities, "keep_raw_sockets_only", lambda: done.append("raw sockets only"))
    become(Identity("joe", 1000, 100), keeps_raw_sockets=True)
    assert done == ["initgroups", "setgid", True, "setuid", "raw sockets only", False]


class Confined(RunningMaster):
    """A root that may not become anybody else, as in a container without that capability."""

    def command(self):
        return ["setpriv", "--bounding-set=-setuid", *super().command()]


@as_root
@pytest.mark.whole
@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv here")
def test_who_cannot_become_the_user_ends_with_the_code_that_says_that_no_successor_can(tmp_path):
    master = Confined(str(tmp_path))
    try:
        told = master.launch().communicate(timeout=15)[1]
        uid = pwd.getpwnam("nobody").pw_uid
        assert f"exited with code 2 before it served: setuid({uid}) failed (1: Operation not permitted)\n" in told
        assert "[emerg] " in master.log() and f": setuid({uid}) failed (1: Operation not permitted)\n" in master.log()
        assert "Traceback" not in master.log()
    finally:
        master.end()
