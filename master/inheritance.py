"""The inheritance in a master's environment, from the process that started it: listening sockets, and the rest of a predecessor.

Three ways of handing over sockets are understood:

    NGINX="6;7;"        by an old master at an upgrade, nginx's or ours, or by a supervisor that imitates one (nginx:
                        ngx_add_inherited_sockets). Then we neither go to the background nor count as in the foreground
    LISTEN_FDS=2        by a service manager, from descriptor 3 on, for the process LISTEN_PID, with names in
                        LISTEN_FDNAMES (sd_listen_fds(3)). Sockets are found by their address; names are for the log
    WPROXY_UPGRADE=...  beside NGINX, from a master of ours: things that nginx has no word for, as NAME=NUMBER pairs

All are removed from the environment, so that no child takes them for its own.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field

from wproxy.address import Address

NGINX_VARIABLE = "NGINX"
OUR_VARIABLE = "WPROXY_UPGRADE"
FIRST_LISTEN_FD = 3


@dataclass(slots=True)
class Inheritance:
    """The inheritance.

    sockets: (descriptor, its given name or "") of what should be listening sockets.
    counts_as_daemon: whether the sockets came through NGINX.
    parent: the process that started us.
    memory, lasting, report, errors: descriptors from a predecessor of ours: its shared memory, that of `wproxy.lasting`, the
    pipe on which it waits for our success, and the standard error that is to replace the pipe that we have there; -1: none.
    is_upgrade: whether a master of ours started us; is_reload: whether we started ourselves anew (`master.alone`).
    is_foreground: whether the predecessor had not gone to the background.
    owns_files: whether the files of unix sockets among them are to be removed with them: a service manager keeps its own.
    complaints: (level, text), in nginx's words.
    """

    parent: int = 0
    sockets: list[tuple[int, str]] = field(default_factory=list)
    counts_as_daemon: bool = False
    is_upgrade: bool = False
    is_reload: bool = False
    is_foreground: bool = False
    owns_files: bool = False
    memory: int = -1
    lasting: int = -1
    report: int = -1
    errors: int = -1
    complaints: list[tuple[str, str]] = field(default_factory=list)

    @property
    def keeper(self) -> int:
        """The process that keeps the files of unix sockets while it lives: one that speaks nginx's language; 0: there is none."""
        return self.parent if self.counts_as_daemon and not (self.is_upgrade or self.is_reload) else 0

    def tell(self, write: Callable[[str, str], None]) -> None:
        """Report the inheritance, each line as (level, text)."""
        for level, text in self.complaints:
            write(level, text)

    def restore_standard_error(self) -> None:
        """Restore standard error: later output is for its reader, no longer for our predecessor alone."""
        if self.errors >= 0:
            os.dup2(self.errors, 2)
            os.close(self.errors)
            self.errors = -1


def take_inheritance(environment: MutableMapping[str, str], pid: int, parent: int) -> Inheritance:
    """Read and remove the variables; nothing in them makes this fail."""
    given = Inheritance(parent)
    through_nginx = environment.pop(NGINX_VARIABLE, None)
    ours = environment.pop(OUR_VARIABLE, "")
    if through_nginx is not None:
        given.counts_as_daemon = True
        given.sockets = [(number, "") for number in read_nginx_variable(through_nginx, given.complaints)]
        numbers = read_numbers(ours)
        given.is_upgrade = numbers.get("parent") == parent
        given.is_reload = numbers.get("process") == pid
        if given.is_upgrade or given.is_reload:  # otherwise it was for another process, which forgot to remove it
            given.is_foreground = bool(numbers.get("foreground"))
            given.owns_files = bool(numbers.get("files"))
            given.memory = numbers.get("memory", -1)
            given.lasting = numbers.get("lasting", -1)
            given.report = numbers.get("report", -1)
            given.errors = numbers.get("errors", -1)
    for_whom, count, names = (environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if for_whom == str(pid) and count.isascii() and count.isdigit() and len(count) < 5:
        named = names.split(":")
        given.sockets += [
            (FIRST_LISTEN_FD + number, named[number] if number < len(named) else "") for number in range(int(count))
        ]
    return given


def read_nginx_variable(value: str, complaints: list[tuple[str, str]]) -> list[int]:
    """Return the descriptors in NGINX, each ended by `;` or `:`; an invalid one is complained about and ends the reading."""
    complaints.append(("notice", f'using inherited sockets from "{value}"'))
    numbers = []
    rest = value
    while rest:
        end = min((place for place in (rest.find(";"), rest.find(":")) if place >= 0), default=-1)
        word, rest = (rest, "") if end < 0 else (rest[:end], rest[end + 1 :])
        is_number = word.isascii() and word.isdigit() and len(word) < 10
        if end < 0 or not is_number:
            tail = "" if end < 0 else " the rest of the variable"
            complaints.append(
                ("emerg", f'invalid socket number "{word}" in {NGINX_VARIABLE} environment variable, ignoring{tail}')
            )
            break
        numbers.append(int(word))
    return numbers


def read_numbers(text: str) -> dict[str, int]:
    """Read `parent=12 memory=9` as a dictionary; other words are ignored."""
    pairs = (word.partition("=") for word in text.split())
    return {name: int(number) for name, _, number in pairs if number.isascii() and number.isdigit() and len(number) < 10}


def write_numbers(**numbers: int) -> str:
    """Return the reverse of `read_numbers`."""
    return " ".join(f"{name}={number}" for name, number in numbers.items())


def open_inherited(fileno: int) -> tuple[Address, socket.socket]:
    """Return a descriptor as a listening stream socket, made non-blocking and close-on-exec.

    Raises ValueError with the reason, after closing the descriptor if it is a socket of another kind.
    """
    try:
        if not stat.S_ISSOCK(os.fstat(fileno).st_mode):
            raise ValueError(f"inherited descriptor #{fileno} is not a socket, ignored")
        one = socket.socket(fileno=fileno)
    except OSError as error:
        text = f"getsockname() of the inherited socket #{fileno} failed ({error.errno}: {error.strerror})"
        raise ValueError(text) from None
    try:
        is_stream = one.type == socket.SOCK_STREAM
        if not is_stream or not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError(f"inherited socket #{fileno} does not listen for connections, ignored")
        address = _address_of(one)
        one.setblocking(False)
        one.set_inheritable(False)
    except OSError as error:
        one.close()
        raise ValueError(f"inherited socket #{fileno} ({error.errno}: {error.strerror}), ignored") from None
    except ValueError:
        one.close()
        raise
    return address, one


def _address_of(one: socket.socket) -> Address:
    """Return its listening address, as a configuration would write it."""
    name = one.getsockname()
    if one.family == socket.AF_UNIX:
        path = os.fsdecode(name) if isinstance(name, bytes) else name
        return Address(path, -1)
    if one.family not in (socket.AF_INET, socket.AF_INET6):
        raise ValueError(f"inherited socket #{one.fileno()} is of a family that is not served, ignored")
    return Address(name[0], name[1])
