"""The variables that a configuration declares: `set`, named captures, `map`, `geo`, `split_clients`.

They may be used before they are declared, since nginx binds names when all of the file has been read. So a name is promised
first, and a template that finds it keeps an object that is completed later.

A value once set or computed is kept in `request.values` and holds for the rest of the request, through internal redirects;
only `volatile` ones are computed whenever they are read. What is computed from others that lead back to it ends at a depth of
100 (nginx: ngx_http_get_indexed_variable).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wproxy.http import Request
from wproxy.variables.registry import BLOCK, REQUEST, VARIABLES, Reader, Variable, complain, find_builtin

MAX_DEPTH = 100

# nginx's own that it lets a configuration declare again; for the others it has `the duplicate "uri" variable`.
CHANGEABLE = frozenset(
    (
        "ancient_browser",
        "args",
        "invalid_referer",
        "limit_rate",
        "modern_browser",
        "msie",
        "proxy_host",
        "proxy_port",
        "uid_reset",
    )
)
# Members of families that nginx has a row of their own for: they cannot be declared, while `$http_anything` can.
ROWS_OF_FAMILIES = frozenset(
    (
        "http_host",
        "http_user_agent",
        "http_referer",
        "http_via",
        "http_x_forwarded_for",
        "http_cookie",
        "sent_http_content_type",
        "sent_http_content_length",
        "sent_http_location",
        "sent_http_last_modified",
        "sent_http_connection",
        "sent_http_keep_alive",
        "sent_http_transfer_encoding",
        "sent_http_cache_control",
        "sent_http_link",
    )
)
# Set by `set` through a function of their own instead of a value of the request.
ASSIGNABLE: dict[str, Callable[[Request, bytes], None]] = {}


def assignable(name: str) -> Callable[[Callable[[Request, bytes], None]], Callable[[Request, bytes], None]]:
    """Enter the decorated function as what `set $name` does."""

    def enter(assign: Callable[[Request, bytes], None]) -> Callable[[Request, bytes], None]:
        ASSIGNABLE[name] = assign
        return assign

    return enter


def is_assignable(name: str) -> bool:
    """Whether `set` changes something of the request itself: `$args` and `$limit_rate`."""
    return name.lower() in ASSIGNABLE


def assigner(name: str) -> Callable[[Request, bytes], None]:
    """What `set $name VALUE` does with a request and the value."""
    lower = name.lower()

    def keep_value(request: Request, value: bytes) -> None:
        keep(request, lower, value)

    return ASSIGNABLE.get(lower, keep_value)


def check_definable(name: str) -> None:
    """Raise ValueError where a configuration may not declare a variable of that name, because it is one of nginx's."""
    if not is_definable(name.lower()):
        raise ValueError(f'the duplicate "{name}" variable')


def is_definable(name: str) -> bool:
    """Whether a configuration may declare a variable of that (lower-case) name."""
    is_free = name not in VARIABLES or name in CHANGEABLE or name.startswith("ssl_")
    return is_free and name not in ROWS_OF_FAMILIES


def variable_name(text: str) -> str:
    """`$name` without its dollar, in lower case. Raises ValueError where there is none, and for a name of nginx's."""
    name = text[1:]
    if not text.startswith("$") or not name:
        raise ValueError(f'invalid variable name "{text}"')
    check_definable(name)
    return name.lower()


def keep(request: Request, name: str, value: bytes | None) -> None:
    """Give a variable its value for the rest of the request. name: in lower case."""
    if request.values is None:
        request.values = {}
    request.values[name] = value


class Declared(Variable):
    """A variable of the configuration: a value of the request or, as long as that is not there, what `compute` gives.

    source: tells how long what is computed holds; None when nothing is computed. is_value: it may be set to anything.
    """

    __slots__ = ("compute", "is_value", "name", "source")

    def __init__(self, name: str) -> None:
        self.name = name
        self.compute: Reader = _not_found
        self.source: Variable | None = None
        self.is_value = False
        super().__init__(self._reader(), REQUEST)

    def _reader(self) -> Reader:
        name = self.name

        def read(request: Request) -> bytes | None:
            values = request.values
            if values is not None and name in values:
                return values[name]
            return self.compute(request)

        return read

    @property
    def varies(self) -> int:
        """As what it is computed from, unless it can be set as well.

        What was computed in one location is kept when the request goes on to another, so LOCATION becomes REQUEST.
        """
        varies = REQUEST if self.source is None else self.source.varies
        return BLOCK if varies == BLOCK and not self.is_value else max(varies, REQUEST)


class Namespace:
    """The variables that one configuration declares. captures_are_read: something in it reads $1 to $9.

    A name of nginx's own is passed over: whoever reads the directive says what is wrong with it (`check_definable`).
    """

    def __init__(self) -> None:
        self._declared: dict[str, Declared] = {}
        self._unkept: set[str] = set()
        self.captures_are_read = False

    def promise(self, name: str) -> None:
        """The name exists and is declared later."""
        entry = self._entry(name)
        if entry is None:
            return
        if entry.source is None and not entry.is_value:
            self._unkept.add(entry.name)

    def declare_value(self, name: str) -> None:
        """A variable of `set`. Read before it is set it is empty, with a warning."""
        entry = self._entry(name)
        if entry is None:
            return
        entry.is_value = True
        if entry.compute is _not_found:
            builtin = find_builtin(entry.name) if entry.name in VARIABLES else None
            entry.compute = builtin.read if builtin is not None else _uninitialized(name, entry.name)
        self._unkept.discard(entry.name)

    def declare_capture(self, name: str) -> None:
        """A named group of a regex: not found until that matches."""
        entry = self._entry(name)
        if entry is None:
            return
        entry.is_value = True
        if entry.source is None:
            entry.compute = _not_found_here
        self._unkept.discard(entry.name)

    def declare(self, name: str, variable: Variable, volatile: bool = False) -> None:
        """A variable that is computed; a later declaration takes the place of an earlier one.

        volatile: whenever it is read, instead of once for a request.
        """
        entry = self._entry(name)
        if entry is None:
            return
        entry.source = variable
        entry.compute = _computing(entry.name, variable.read, volatile)
        self._unkept.discard(entry.name)

    def find(self, name: str) -> Variable | None:
        """The variable of that (lower-case) name, or None."""
        return self._declared.get(name)

    @property
    def unkept(self) -> list[str]:
        """Names that were promised and never declared, sorted."""
        return sorted(self._unkept)

    def _entry(self, name: str) -> Declared | None:
        lower = name.lower()
        if not is_definable(lower) or lower in ASSIGNABLE:
            return None
        entry = self._declared.get(lower)
        if entry is None:
            entry = self._declared[lower] = Declared(lower)
        return entry

    def __repr__(self) -> str:
        return f"<namespace {', '.join(sorted(self._declared))}>"


_active = Namespace()


def active_namespace() -> Namespace:
    """The namespace that names are looked up and declared in now."""
    return _active


@contextmanager
def use_namespace(namespace: Namespace) -> Iterator[Namespace]:
    """Look names up, and declare them, in this namespace meanwhile."""
    global _active
    before, _active = _active, namespace
    try:
        yield namespace
    finally:
        _active = before


def find_variable(name: str) -> Variable | None:
    """The variable of that (lower-case) name, or None: those of the active namespace first."""
    return _active.find(name) or find_builtin(name)


def _not_found(request: Request) -> bytes | None:
    """What is promised and not declared."""
    return None


def _not_found_here(request: Request) -> bytes | None:
    """A named group of a regex that has not matched."""
    return None


def _uninitialized(shown: str, name: str) -> Reader:
    """What `set` has not set is empty, which is said once in a request."""

    def read(request: Request) -> bytes | None:
        if request.location.uninitialized_variable_warn:
            complain(request, "warn", f'using uninitialized "{shown}" variable')
        keep(request, name, b"")
        return b""

    return read


# How much deeper a computed variable may ask computed variables. At the bottom everything is cut until the first one is done:
# a map that leads to itself in two ways would otherwise take 2 ** 100 steps.
_depth_left = MAX_DEPTH
_is_cut = False


def _computing(name: str, read: Reader, volatile: bool) -> Reader:
    def compute(request: Request) -> bytes | None:
        global _depth_left, _is_cut
        if _is_cut:
            return None
        if not _depth_left:
            _is_cut = True
            complain(request, "error", f'cycle while evaluating variable "{name}"')
            return None
        _depth_left -= 1
        try:
            value = read(request)
        finally:
            _depth_left += 1
            if _depth_left == MAX_DEPTH:
                _is_cut = False
        if not volatile:
            keep(request, name, value)
        return value

    return compute
