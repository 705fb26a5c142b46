"""The variables that a configuration declares: `set`, named captures, `map`, `geo`, `split_clients`.

They may be used before they are declared, since nginx binds names after reading the whole file. So a name is promised first,
and a template that finds it keeps an object that is completed later.

A value once set or computed is kept in `request.values` and holds for the rest of the request, through internal redirects;
only `volatile` ones are computed whenever they are read. A variable that depends on itself ends at a depth of 100 (nginx:
ngx_http_get_indexed_variable).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wproxy.http import Request
from wproxy.variables.registry import BLOCK, REQUEST, VARIABLES, Reader, Variable, complain, find_builtin

MAX_DEPTH = 100

# nginx's own variables that a configuration may declare again; for others nginx has `the duplicate "uri" variable`.
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
# Members of families that have a row of their own in nginx: they cannot be declared, while `$http_anything` can.
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
# Variables with a setter of their own, instead of a value of the request.
ASSIGNABLE: dict[str, Callable[[Request, bytes], None]] = {}


def assignable(name: str) -> Callable[[Callable[[Request, bytes], None]], Callable[[Request, bytes], None]]:
    """Enter the decorated function as the setter of `set $name`."""

    def enter(assign: Callable[[Request, bytes], None]) -> Callable[[Request, bytes], None]:
        ASSIGNABLE[name] = assign
        return assign

    return enter


def is_assignable(name: str) -> bool:
    """Whether `set` changes the request itself: `$args` and `$limit_rate`."""
    return name.lower() in ASSIGNABLE


def assigner(name: str) -> Callable[[Request, bytes], None]:
    """Return the function that carries out `set $name VALUE` on a request."""
    lower = name.lower()

    def keep_value(request: Request, value: bytes) -> None:
        keep(request, lower, value)

    return ASSIGNABLE.get(lower, keep_value)


def check_definable(name: str) -> None:
    """Raise ValueError when a configuration may not declare a variable of that name, because it is one of nginx's."""
    if not is_definable(name.lower()):
        raise ValueError(f'the duplicate "{name}" variable')


def is_definable(name: str) -> bool:
    """Whether a configuration may declare a variable of that (lower-case) name."""
    is_free = name not in VARIABLES or name in CHANGEABLE or name.startswith("ssl_")
    return is_free and name not in ROWS_OF_FAMILIES


def variable_name(text: str) -> str:
    """Return `$name` without its dollar, in lower case. Raises ValueError when it has none, and for a name of nginx's."""
    name = text[1:]
    if not text.startswith("$") or not name:
        raise ValueError(f'invalid variable name "{text}"')
    check_definable(name)
    return name.lower()


def keep(request: Request, name: str, value: bytes | None) -> None:
    """Keep the value of a variable for the rest of the request. name: in lower case."""
    if request.values is None:
        request.values = {}
    request.values[name] = value


class Declared(Variable):
    """A variable of the configuration: a value of the request or, as long as that is missing, the result of `compute`.

    source: tells how long a computed value holds; None when nothing is computed. is_value: whether it may be set to anything.
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
        """How long the value holds: as long as its source, unless it can be set as well.

        A value computed in one location is kept when the request goes on to another, so LOCATION becomes REQUEST.
        """
        varies = REQUEST if self.source is None else self.source.varies
        return BLOCK if varies == BLOCK and not self.is_value else max(varies, REQUEST)


class Namespace:
    """The variables that one configuration declares. captures_are_read: whether something in it reads $1 to $9.

    templates: what texts with variables were compiled to, by text, while the configuration is read; None at other times.
    A name of nginx's own is ignored: the code that reads the directive reports it (`check_definable`).
    """

    def __init__(self) -> None:
        self._declared: dict[str, Declared] = {}
        self._unkept: set[str] = set()
        self.captures_are_read = False
        self.templates: dict[str, Any] | None = None

    def promise(self, name: str) -> None:
        """Promise that the name exists and is declared later."""
        entry = self._entry(name)
        if entry is None:
            return
        if entry.source is None and not entry.is_value:
            self._unkept.add(entry.name)

    def declare_value(self, name: str) -> None:
        """Declare a variable of `set`. When read before it is set, it is empty, with a warning."""
        entry = self._entry(name)
        if entry is None:
            return
        entry.is_value = True
        if entry.compute is _not_found:
            builtin = find_builtin(entry.name) if entry.name in VARIABLES else None
            entry.compute = builtin.read if builtin is not None else _uninitialized(name, entry.name)
        self._unkept.discard(entry.name)

    def declare_capture(self, name: str) -> None:
        """Declare a named group of a regex: not found until that matches."""
        entry = self._entry(name)
        if entry is None:
            return
        entry.is_value = True
        if entry.source is None:
            entry.compute = _not_found_here
        self._unkept.discard(entry.name)

    def declare(self, name: str, variable: Variable, volatile: bool = False) -> None:
        """Declare a variable that is computed; a later declaration replaces an earlier one.

        volatile: whether to compute it on every read, instead of once for a request.
        """
        entry = self._entry(name)
        if entry is None:
            return
        entry.source = variable
        entry.compute = _computing(entry.name, variable.read, volatile)
        self._unkept.discard(entry.name)

    def find(self, name: str) -> Variable | None:
        """Return the variable of that (lower-case) name, or None."""
        return self._declared.get(name)

    @property
    def unkept(self) -> list[str]:
        """Return the names that were promised and never declared, sorted."""
        return sorted(self._unkept)

    def _entry(self, name: str) -> Declared | None:
        lower = name.lower()
        if not is_definable(lower) or lower in ASSIGNABLE:
            return None
        entry = self._declared.get(lower)
        if entry is None:
            entry = self._declared[lower] = Declared(lower)
            if self.templates:
                self.templates.clear()  # one of them may name it, and mean nginx's own variable
        return entry

    def __repr__(self) -> str:
        return f"<namespace {', '.join(sorted(self._declared))}>"


_active = Namespace()


def active_namespace() -> Namespace:
    """Return the namespace in which names are looked up and declared now."""
    return _active


@contextmanager
def use_namespace(namespace: Namespace) -> Iterator[Namespace]:
    """Look names up, and declare them, in this namespace meanwhile."""
    global _active
    before, _active = _active, namespace
    namespace.templates = {}
    try:
        yield namespace
    finally:
        _active = before
        namespace.templates = None


def find_variable(name: str) -> Variable | None:
    """Return the variable of that (lower-case) name, or None: those of the active namespace first."""
    return _active.find(name) or find_builtin(name)


def _not_found(request: Request) -> bytes | None:
    """Read a variable that is promised and not declared."""
    return None


def _not_found_here(request: Request) -> bytes | None:
    """Read a named group of a regex that has not matched."""
    return None


def _uninitialized(shown: str, name: str) -> Reader:
    """Read a variable that `set` has not set: it is empty, which is reported once in a request."""

    def read(request: Request) -> bytes | None:
        if request.location.uninitialized_variable_warn:
            complain(request, "warn", f'using uninitialized "{shown}" variable')
        keep(request, name, b"")
        return b""

    return read


# How much deeper a computed variable may read computed variables. At the bottom everything is cut until the first one is done: a
# map that leads to itself in two ways would otherwise take 2 ** 100 steps.
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
