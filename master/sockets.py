"""Listening sockets: one SO_REUSEPORT socket per worker and address, all kept open by the master as long as the
address is configured (nginx: ngx_open_listening_sockets; the reasons and measurements are in nginx/process.md §8).

The kernel spreads new connections over the sockets of an address. A socket that is closed takes its queue with it,
and every client in it gets a reset; so sockets are never closed while their address is configured: not when a
worker dies (its successor finds the queue), not when the number of workers shrinks (socket i is served by worker i
mod n). A reload binds new addresses first and decides afterwards: `bind`, then `commit` or `roll_back`.

SO_REUSEPORT has a trap: any process of the same user may join the group, so a second wproxy on a port would not
fail but take half of the connections. Hence the first socket of an address is bound and listens *without* the flag,
which fails if any process listens already, and gets the flag only then; the others join it.

A unix socket has one queue that all workers share, and a name in the file system, which is removed when we stop.

Sockets may be inherited (`adopt`): from an old master, or from a service manager. They are used if their address is configured
and closed if not. While another master has the same sockets,

  * a group that we made larger gets new connections only in the sockets that both have, or those in the queues of ours
    would be lost if we left first (a roll-back);
  * files of unix sockets stay.

`be_alone` makes up for both. A service manager's socket may belong to another user, whose group we cannot join: then
all workers share it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Iterable, Sequence

from master import reuseport, socket_options
from master.inheritance import open_inherited
from wproxy.address import Address
from wproxy.assignment import ListeningSocket
from wproxy.config.model import PRIVATE, Listener
from wproxy.config.tree import ConfigurationError, Position, Problem
from wproxy.directives.listen import SocketOptions

# As long as nginx tries, which looks five times in half seconds (nginx: ngx_open_listening_sockets): after a master was killed
# its workers release the ports in a moment, and a successor need not wait longer than that.
BIND_ATTEMPTS = 50
BIND_PAUSE = 0.05  # seconds


class ListeningSockets:
    """The sockets of every address, across reloads."""

    def __init__(self) -> None:
        self._sockets: dict[Address, list[socket.socket]] = {}
        self._files: dict[Address, tuple[int, int]] = {}  # unix: device and inode, to recognise our own file
        self._fresh: list[tuple[Address, socket.socket]] = []  # opened since the last commit, oldest first
        self._inherited: dict[Address, int] = {}  # the number of inherited ones, which come first
        self._names: dict[Address, str] = {}  # the names of inherited ones
        self._owns_files = True
        self._starter = 0  # the process that keeps inherited files as long as it is our parent
        self._borrowed: set[Address] = set()  # the addresses with inherited files
        self.has_company = False  # whether another master shares our sockets
        self._company: dict[Address, int] = {}  # how many of each address it has, from the first on
        self._left_files: dict[Address, tuple[int, int]] = {}  # to be removed when the other master is gone

    @property
    def owns_files(self) -> bool:
        """Whether we have to remove the files of inherited unix sockets."""
        return self._owns_files or (self._starter > 0 and os.getppid() != self._starter)

    def adopt(self, inherited: Iterable[tuple[int, str]], owns_files: bool = False, starter: int = 0) -> list[tuple[str, str]]:
        """Take over listening sockets by descriptor, with their given names.

        owns_files: whether the files of unix sockets are ours, too, and not those of a service manager that keeps them. starter:
        otherwise, the process after whose end they are: an nginx that we took over from (ngx_close_listening_sockets). Returns
        the messages about them, as (level, text).
        """
        told = []
        for fileno, name in inherited:
            try:
                address, one = open_inherited(fileno)
            except ValueError as error:
                told.append(("crit", str(error)))
                continue
            if address.is_unix:
                self._owns_files, self._starter = owns_files, starter
                found = _file_of(address.host)
                if found:
                    self._files[address] = found
                    self._borrowed.add(address)
            self._sockets.setdefault(address, []).append(one)
            self._names[address] = name
            told.append(("info", f"inherited socket #{fileno}{f' ({name})' if name else ''} listens on {address}"))
        self._inherited = {address: len(held) for address, held in self._sockets.items()}
        return told

    def filenos(self) -> list[int]:
        """Return the descriptors of all sockets, those of one address in their order."""
        return [one.fileno() for held in self._sockets.values() for one in held]

    def keep_company(self) -> None:
        """Note that another master shares the sockets that we have now, as long as it lives."""
        self.has_company = True
        self._company = {address: len(held) for address, held in self._sockets.items()}

    def be_alone(self) -> None:
        """Note that the other master is gone, and do what was put off for its sake."""
        self.has_company = False
        self._company = {}
        for address in self._sockets:
            self._open_or_confine(address)
        while self._left_files:
            address, file = self._left_files.popitem()
            if address not in self._sockets:
                _remove_file(address.host, file)

    def unconfigured(self, listeners: Iterable[Listener]) -> list[str]:
        """Return the inherited sockets that none of these listeners uses, by name and address."""
        wanted = {listener.address for listener in listeners}
        return [
            f'"{self._names[address]}" on {address}' if self._names[address] else str(address)
            for address in self._inherited
            if address in self._sockets and address not in wanted
        ]

    def bind(self, listeners: Iterable[Listener], workers: int) -> list[Problem]:
        """Open the missing sockets for so many workers, all or none; return the problems with optional ones, which may be
        missing.

        Raises ConfigurationError with every address that cannot be bound; sockets that were open before are untouched.
        """
        problems: list[Problem] = []
        missing: list[Problem] = []
        # Wildcards first: a more specific address of the same port may join them, but they may not come later (see `_overlaps`).
        for listener in sorted(listeners, key=lambda listener: not _is_wildcard(listener.address)):
            try:
                self._open_missing(listener, 1 if listener.address.is_unix else workers)
            except OSError as error:
                place = missing if listener.is_optional else problems
                place.append(_problem(error, listener.address, listener.position))
        if problems:
            self.roll_back()
            raise ConfigurationError(*problems)
        return missing

    def commit(self, listeners: Iterable[Listener]) -> None:
        """Keep what was bound; close addresses that are not among these; apply changed options."""
        self._fresh.clear()
        wanted = {listener.address: listener for listener in listeners if listener.address in self._sockets}
        for address in self._sockets.keys() - wanted.keys():
            self._close(address)
        for address, listener in wanted.items():
            for one in self._sockets[address]:
                if not address.is_unix:
                    socket_options.apply(one, listener.options)
                one.listen(listener.options.backlog)
            self._open_or_confine(address)

    def roll_back(self) -> None:
        """Close the sockets bound since the last commit, the youngest first: the kernel moves the last into a gap."""
        touched = {address for address, _ in self._fresh}
        while self._fresh:
            address, one = self._fresh.pop()
            self._sockets[address].remove(one)
            one.close()
        for address in touched:
            if self._sockets[address]:
                self._open_or_confine(address)
            else:
                self._close(address)

    def of(self, listeners: Iterable[Listener]) -> tuple[tuple[Listener, tuple[socket.socket, ...]], ...]:
        """Return the sockets that serve each of these listeners now."""
        return tuple((listener, tuple(self._sockets.get(listener.address, ()))) for listener in listeners)

    def close(self) -> None:
        """Close everything and remove the files of unix sockets."""
        for address in list(self._sockets):
            self._close(address)
        self._fresh.clear()

    def keep_only(self, filenos: Iterable[int]) -> None:
        """In a new worker: close the copies of other sockets, and release those that it keeps.

        A copy left open would go on collecting connections after the master has closed the address; and a forgotten object might
        be collected one day and close a descriptor that has become another object's.
        """
        own = set(filenos)
        for sockets in self._sockets.values():
            for one in sockets:
                if one.fileno() in own:
                    one.detach()
                else:
                    one.close()
        self._sockets.clear()
        self._files.clear()
        self._left_files.clear()
        self._fresh.clear()

    def _open_missing(self, listener: Listener, count: int) -> None:
        """Bring one address to so many sockets; raises OSError."""
        address = listener.address
        served = len(self._sockets.get(address, ()))
        for number in range(served, count):
            if address.is_unix:
                one = _listen_unix(address.host, listener.options.backlog, listener.mode)
                found = os.stat(address.host)
                self._files[address] = (found.st_dev, found.st_ino)
            else:
                joins = number > 0 or any(_overlaps(address, held) for held in self._sockets)
                if number and number == self._inherited.get(address) and not _may_be_joined(self._sockets[address][0]):
                    return
                one = _listen_tcp(address, listener.options, joins)
            self._sockets.setdefault(address, []).append(one)
            self._fresh.append((address, one))
            # A group of one is not a group yet and takes no filter: the first addition is confined a moment late.
            if served and number == served:
                reuseport.confine(self._sockets[address][0], min(served, self._company.get(address, served)))

    def _open_or_confine(self, address: Address) -> None:
        """Let new connections go to all sockets of the address, or only to those that another master has, too."""
        if address.is_unix:
            return
        held = self._sockets[address]
        shared = self._company.get(address, 0)
        if 0 < shared < len(held):
            reuseport.confine(held[0], shared)
        else:
            reuseport.release(held[0])

    def _close(self, address: Address) -> None:
        for one in self._sockets.pop(address):
            one.close()
        file = self._files.pop(address, None)
        if file is None or (address in self._borrowed and not self.owns_files):
            return
        if self.has_company:
            self._left_files[address] = file
        else:
            _remove_file(address.host, file)

    def __repr__(self) -> str:
        return f"<sockets {', '.join(f'{address}x{len(held)}' for address, held in self._sockets.items())}>"


def bind_patiently(sockets: ListeningSockets, listeners: Sequence[Listener], workers: int) -> list[Problem]:
    """Bind, several times if an address is in use: a predecessor may just be ending.

    For the start only: it blocks, two and a half seconds at most. Raises ConfigurationError.
    """
    for _ in range(BIND_ATTEMPTS - 1):
        try:
            return sockets.bind(listeners, workers)
        except ConfigurationError as error:
            if not all(f"({errno.EADDRINUSE}: " in problem.text for problem in error.problems):
                raise
        time.sleep(BIND_PAUSE)
    return sockets.bind(listeners, workers)


def probe(listeners: Iterable[Listener]) -> list[Problem]:
    """Find the obstacles to binding these addresses, each tried alone; an address in use is no problem here.

    For `-t`, which runs beside the master that uses them. No socket stays open, and no file of a unix socket is left behind.
    """
    problems: list[Problem] = []
    for listener in listeners:
        try:
            _try_to_bind(listener)
        except OSError as error:
            problems.append(_problem(error, listener.address, listener.position))
    return problems


def _try_to_bind(listener: Listener) -> None:
    address = listener.address
    if address.is_unix:
        if os.path.exists(address.host):
            if not stat.S_ISSOCK(os.stat(address.host).st_mode):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.bind(address.host)
        os.unlink(address.host)
        return
    with socket_options.new_socket(address, listener.options) as one:
        try:
            one.bind((address.host, address.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


def share(sockets: Iterable[tuple[Listener, Sequence[socket.socket]]], index: int, workers: int) -> tuple[ListeningSocket, ...]:
    """Return the sockets of worker `index` of so many: socket i is for worker i mod n, a unix socket or a single one for all."""
    return tuple(
        ListeningSocket(listener, one.fileno())
        for listener, held in sockets
        for number, one in enumerate(held)
        if listener.address.is_unix or len(held) == 1 or number % workers == index
    )


def _listen_tcp(address: Address, options: SocketOptions, joins: bool) -> socket.socket:
    """Return a new listening socket; `joins`: whether it joins a group; otherwise there must be none. Raises OSError."""
    one = socket_options.new_socket(address, options)
    try:
        one.setblocking(False)
        if joins:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((address.host, address.port))
        socket_options.apply(one, options)
        one.listen(options.backlog)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except BaseException:
        one.close()
        raise
    return one


def _listen_unix(path: str, backlog: int, mode: int) -> socket.socket:
    """Return a new listening unix socket whose file has this mode; raises OSError.

    A stale file is replaced. The directory is made for the control socket, which no one else uses.
    """
    if mode == PRIVATE:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        one.setblocking(False)
        if _is_stale(path):
            os.unlink(path)
        # The file gets the mode of the socket, less the umask. By its name it could be another's, where others may write.
        os.fchmod(one.fileno(), mode)
        umask = os.umask(0)
        try:
            one.bind(path)
        finally:
            os.umask(umask)
        one.listen(backlog)
    except BaseException:
        one.close()
        raise
    return one


def _is_stale(path: str) -> bool:
    """Whether this is a stale socket file, left by a process that was killed."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:  # a full queue, or no permission: a process listens
            return False
    return False


def _remove_file(path: str, file: tuple[int, int]) -> None:
    """Remove the file of a unix socket unless another process has put its own there."""
    try:
        found = os.stat(path)
        if (found.st_dev, found.st_ino) == file:
            os.unlink(path)
    except OSError:
        pass


def _file_of(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _may_be_joined(one: socket.socket) -> bool:
    """Whether other sockets may share its address; the flag can still be set when it listens, but its owner cannot be changed."""
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        return False
    return os.fstat(one.fileno()).st_uid == os.geteuid()


def _is_wildcard(address: Address) -> bool:
    return address.host in ("0.0.0.0", "::")


def _overlaps(address: Address, held: Address) -> bool:
    """Whether our socket on `held` would refuse one on `address` outside its group: *:80, 127.0.0.1:80."""
    return (
        address.port == held.port
        and not address.is_unix
        and address.is_ipv6 == held.is_ipv6
        and (_is_wildcard(address) or _is_wildcard(held))
    )


def _problem(error: OSError, address: Address, position: Position) -> Problem:
    # The reader does not care which call it was, and bind is the one that fails in practice.
    return Problem(f"bind() to {address} failed ({error.errno}: {os.strerror(error.errno or 0)})", position)
