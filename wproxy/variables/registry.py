"""The table of variables: `$name` to a function of the request (routing.md §4).

A reader returns bytes, or None where nginx says "not found" (empty in text, `-` in the default log). `varies` tells how long
a value holds:

  BLOCK     as long as connection and header block are the same and the request line names no authority: for variables of the
            connection ($remote_addr) and of the header fields ($http_NAME, $host), and no others
  LOCATION  like BLOCK, and as long as the location is the same too ($proxy_host)
  LINE      like LOCATION, and as long as the request line is the same and the URI is still the one in it ($uri); where the body
            is not chunked ($content_length), and `root` has no variables ($request_filename)
  REQUEST   for this request only; read again on every use
  FIELDS    like REQUEST, and it changes while the fields of the response are made ($sent_http_NAME)

A value that depends on several variables holds as long as the greatest of them.

Names are caseless; here they are lower case. Those that a configuration declares (set, map, named captures) are in a Namespace
(wproxy.variables.namespace), which is asked first.
"""

from __future__ import annotations

from collections.abc import Callable

from wproxy.http import Request

Reader = Callable[[Request], "bytes | None"]

BLOCK = 0
LOCATION = 1
LINE = 2
REQUEST = 3
FIELDS = 4


class Variable:
    """One variable: its reader, and how long its value holds.

    varies: one of the five, or a function that returns it, for variables that depend on others: it is called after the load, when
    all are known. Two that depend on each other hold for a request.
    reads: the header fields, in lower case, that a BLOCK or LOCATION depends on: it holds for another block of the connection in
    which these are the same. None: any of them.
    by_address: whether it holds for the same block of another connection to the listener, too, if the address of the client and
    the scheme are the same.
    """

    __slots__ = ("_varies", "by_address", "read", "reads")

    def __init__(
        self,
        read: Reader,
        varies: int | Callable[[], int],
        reads: tuple[bytes, ...] | None = None,
        by_address: bool = False,
    ) -> None:
        self.read = read
        self.reads = reads
        self.by_address = by_address
        self._varies = varies

    @property
    def varies(self) -> int:
        """BLOCK, LOCATION, LINE, REQUEST or FIELDS."""
        varies = self._varies
        if not isinstance(varies, int):
            self._varies = REQUEST  # a variable that it depends on may ask back
            self._varies = varies = varies()
        return varies


VARIABLES: dict[str, Variable] = {}
# Families: `$http_user_agent` is the family `http_` with the rest of the name.
FAMILIES: dict[str, Callable[[str], Variable]] = {}


def variable(
    name: str, varies: int = BLOCK, reads: tuple[bytes, ...] | None = None, by_address: bool = False
) -> Callable[[Reader], Reader]:
    """Enter the decorated function as `$name`."""

    def enter(read: Reader) -> Reader:
        VARIABLES[name] = Variable(read, varies, reads, by_address)
        return read

    return enter


def family(prefix: str) -> Callable[[Callable[[str], Variable]], Callable[[str], Variable]]:
    """Enter the decorated function as the maker of all `$prefix...`; it gets the rest of the name."""

    def enter(make: Callable[[str], Variable]) -> Callable[[str], Variable]:
        FAMILIES[prefix] = make
        return make

    return enter


def find_builtin(name: str) -> Variable | None:
    """Return our variable of that (lower-case) name, or None."""
    found = VARIABLES.get(name)
    if found is not None:
        return found
    for prefix, make in FAMILIES.items():
        if name.startswith(prefix):  # the rest may be empty, as in nginx
            return make(name[len(prefix) :])
    return None


# A function that hears about problems with a value while a request is served: set by the owner of an error log.
Listener = Callable[[Request, str, str], object]


def _silence(request: Request, level: str, text: str) -> None:
    """Ignore a complaint: no error log is set."""


_listener: Listener = _silence


def hear_complaints(listener: Listener) -> None:
    """Send complaints of variables to this function from now on: (request, level, text)."""
    global _listener
    _listener = listener


def complain(request: Request, level: str, text: str) -> None:
    """Report a problem with a request's variables to the error log, if there is one."""
    _listener(request, level, text)
