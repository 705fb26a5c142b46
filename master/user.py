"""The user of the workers: a master started by root keeps its rights, its workers give them up.

Names are looked up before the fork, so that a wrong one is an error of the configuration and not the death of a
worker (nginx: ngx_set_user in src/core/nginx.c).
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from typing import NamedTuple

from wproxy.config.tree import ConfigurationError, Problem
from wproxy.safe_open import Distrusted

DEFAULT_USER = "nobody"


class Identity(NamedTuple):
    """A user and a group to run as."""

    name: str
    uid: int
    gid: int


class CannotBecome(Exception):
    """The system does not let us be that user: the call that failed, in nginx's words."""


def worker_identity(user: tuple[str, ...] | None) -> Identity | None:
    """Return the user and group of the workers, from (user,) or (user, group); "" means the user's own group, None means
    nobody's.

    Returns None when we are not root: then there is nothing to give up. Raises ConfigurationError with nginx's words.
    """
    if os.geteuid() != 0:
        return None
    name, group = ((*user, "") if user else (DEFAULT_USER, ""))[:2]
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ConfigurationError(Problem(f'getpwnam("{name}") failed')) from None
    if not group:
        return Identity(name, entry.pw_uid, entry.pw_gid)
    try:
        return Identity(name, entry.pw_uid, grp.getgrnam(group).gr_gid)
    except KeyError:
        raise ConfigurationError(Problem(f'getgrnam("{group}") failed')) from None


def distrusted(identity: Identity | None) -> Distrusted | None:
    """Return the workers' user as one that root does not trust with file names; None when it has no fewer rights than we."""
    if identity is None or identity.uid == 0:
        return None
    return Distrusted(identity.uid, frozenset(os.getgrouplist(identity.name, identity.gid)))


def become(identity: Identity | None, keeps_raw_sockets: bool = False) -> None:
    """Give up root's rights for good; None: there are none to give up. Raises CannotBecome.

    keeps_raw_sockets: whether to keep the right that transparency needs. The order matters: after setuid the groups cannot
    be changed any more, and without initgroups root's would stay.
    """
    if identity is None:
        return
    calls: list[tuple[str, Callable[[], None]]] = [
        (f"initgroups({identity.name}, {identity.gid})", lambda: os.initgroups(identity.name, identity.gid)),
        (f"setgid({identity.gid})", lambda: os.setgid(identity.gid)),
        (f"setuid({identity.uid})", lambda: os.setuid(identity.uid)),
    ]
    if keeps_raw_sockets:
        from master import capabilities  # ctypes takes 5 ms, needed only on request

        calls.insert(2, ("prctl(PR_SET_KEEPCAPS, 1)", lambda: capabilities.keep_across_setuid(True)))
        calls.append(("capset()", capabilities.keep_raw_sockets_only))
        calls.append(("prctl(PR_SET_KEEPCAPS, 0)", lambda: capabilities.keep_across_setuid(False)))
    for call, deed in calls:
        try:
            deed()
        except OSError as error:
            raise CannotBecome(f"{call} failed ({error.errno}: {error.strerror})") from None
