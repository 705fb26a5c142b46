"""The rule of rooms and other laws of the house, read off the source with `ast`.

`wproxy` is words, `master` and `worker` are deeds; only `wproxy.__main__` knows all three (style.md §3).
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.every import for_every

HOUSE = Path(__file__).parent.parent
ROOMS = ("wproxy", "master", "worker")
MAIN = "wproxy.__main__"

# Deeds: modules that open, fork, wait or run something else, and calls that look at a clock.
MODULES_OF_DEEDS = {"socket", "selectors", "select", "signal", "threading", "_thread", "subprocess", "multiprocessing", "asyncio"}
LOCKS = {"threading", "_thread"}  # the standard library imports them for their locks
CALLS_OF_DEEDS = {
    "os.fork",
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.monotonic_ns",
    "time.perf_counter",
    "time.sleep",
}

# The modules that may import a package from outside the standard library.
THIRD_PARTY = {
    "cryptography": ("master.local_authority.by_cryptography",),
    "tomli": ("wproxy.config.toml",),
    "psutil": ("master",),
    "bcrypt": ("wproxy.passwords",),
    "setproctitle": ("master", "worker"),
    "hpack": ("worker.http2.header_block",),
    "hiredis": ("worker.redis.link",),
    "jwt": ("worker.access.token_keys",),
}

# Rooms whose modules form layers: no circle of imports, even for the names of types.
LAYERED = ("master", "worker")


def name_of(file: Path) -> str:
    """`wproxy/config/tree.py` is `wproxy.config.tree`."""
    parts = file.relative_to(HOUSE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for room in ROOMS for file in sorted((HOUSE / room).rglob("*.py"))}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"), str(MODULES[module]))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def import_statements(node: ast.AST, *, lazy: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that happen at run time; lazy: also those inside functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif is_type_checking(child):
            for branch in child.orelse:  # type: ignore[attr-defined]
                yield from import_statements(branch, lazy=lazy)
        elif lazy or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from import_statements(child, lazy=lazy)


@cache
def imports_of(module: str, lazy: bool = True) -> frozenset[str]:
    """What a module imports by full name; `from package import module` counts as the module."""
    found: set[str] = set()
    for statement in import_statements(tree_of(module), lazy=lazy):
        if isinstance(statement, ast.Import):
            found.update(alias.name for alias in statement.names)
            continue
        assert not statement.level, f"{module} has a relative import; ours are absolute"
        origin = statement.module or ""
        for alias in statement.names:
            full = f"{origin}.{alias.name}"
            found.add(full if full in MODULES else origin)
    return frozenset(found)


def room_of(module: str) -> str:
    return module.partition(".")[0]


def modules_of(*rooms: str) -> list[str]:
    return [module for module in MODULES if room_of(module) in rooms]


def dotted_names(module: str) -> set[str]:
    """Every `a.b` in a module, with import aliases undone: `from time import sleep` is `time.sleep`."""
    found = {ast.unparse(node) for node in ast.walk(tree_of(module)) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom):
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def test_the_three_rooms_are_there():
    assert {room_of(module) for module in MODULES} == set(ROOMS)
    assert all(len(modules_of(room)) > 5 for room in ROOMS)


# The rule of rooms.


@for_every([module for module in modules_of("wproxy") if module != MAIN])
def test_words_know_no_deeds(module):
    rooms = {name for name in imports_of(module) if room_of(name) in ("master", "worker")}
    assert not rooms, "words import nothing of master and worker"
    assert not {room_of(name) for name in imports_of(module)} & MODULES_OF_DEEDS
    assert not dotted_names(module) & CALLS_OF_DEEDS, "words neither fork nor look at a clock"


@for_every(modules_of("master", "worker"))
def test_deeds_import_words_and_their_own_room_only(module):
    neighbours = {room_of(name) for name in imports_of(module)} & set(ROOMS)
    assert neighbours <= {"wproxy", room_of(module)}


def test_only_words_are_imported_by_deeds_not_the_command():
    assert not [module for module in modules_of("master", "worker") if MAIN in imports_of(module)]


def test_a_whole_configuration_is_read_without_socket_or_selectors():
    """The rule of rooms as a fact: what the words import imports no deeds either."""
    loaded = modules_after(
        "from wproxy.config.load import load_text",
        "load_text(open('wproxy.toml', 'rb').read(), 'wproxy.toml', '/', None)",
    )
    assert not loaded & (MODULES_OF_DEEDS - LOCKS)
    assert not {name for name in loaded if room_of(name) in ("master", "worker")}


def modules_after(*statements: str) -> set[str]:
    """The modules that are loaded after these statements, in an interpreter of their own."""
    script = "\n".join(["import sys", *statements, "sys.stdout.write('\\n' + ' '.join(sys.modules))"])
    run = subprocess.run([sys.executable, "-S", "-c", script], cwd=HOUSE, env=bare_environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split())


def bare_environment() -> dict[str, str]:
    """`-S` leaves site out, because `.pth` files import what they like; the packages are found all the same."""
    packages = [path for path in sys.path if path.endswith("site-packages")]
    return {"PYTHONPATH": ":".join([str(HOUSE), *packages])}


# Imports.


def test_no_module_imports_itself_in_a_circle():
    graph = {module: {name for name in imports_of(module, lazy=False) if name in MODULES} for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "circle: " + " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in sorted(graph[module]):
                visit(name, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def typed_imports_of(module: str) -> set[str]:
    """What a module imports of its own room, at run time, in functions or for the names of types."""
    statements = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.ImportFrom)]
    full = {(node.module or "", f"{node.module}.{alias.name}") for node in statements for alias in node.names}
    found = {name if name in MODULES else origin for origin, name in full}
    found |= {package for name in found for package in packages_of(name) if package not in packages_of(module)}
    return {name for name in found - {module} if name in MODULES and room_of(name) == room_of(module)}


def packages_of(module: str) -> set[str]:
    """The packages that are imported before a module is."""
    parts = module.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The sets of modules that can all reach one another (Tarjan)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        numbers[module] = lowest[module] = len(numbers)
        path.append(module)
        for name in graph[module]:
            if name not in numbers:
                visit(name)
            if name in path:
                lowest[module] = min(lowest[module], lowest[name])
        if lowest[module] == numbers[module]:
            begin = path.index(module)
            found.append(set(path[begin:]))
            del path[begin:]

    for module in graph:
        if module not in numbers:
            visit(module)
    return [each for each in found if len(each) > 1]


@pytest.mark.parametrize("room", LAYERED)
def test_a_room_is_layered_even_for_the_names_of_types(room):
    assert circles({module: typed_imports_of(module) for module in modules_of(room)}) == []


def test_a_circle_of_imports_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]


@for_every(MODULES)
def test_what_is_not_in_the_standard_library_is_imported_where_it_was_declared(module):
    for name in imports_of(module):
        package = room_of(name)
        if package in ROOMS or package in sys.stdlib_module_names:
            continue
        allowed = THIRD_PARTY.get(package, ())
        assert any(module == place or module.startswith(place + ".") for place in allowed), f"{module} imports {name}"


# The main flow.


def test_the_command_hands_the_worker_to_the_master():
    """`supervise` gets worker.run.work as a value, so that a test may supervise something else."""
    starts = [
        function
        for function in tree_of(MAIN).body
        if isinstance(function, ast.FunctionDef) and function.name in ("start", "proxy")
    ]
    assert len(starts) == 2
    for function in starts:
        imported = {
            f"{node.module}.{alias.name}": alias.asname or alias.name
            for node in ast.walk(function)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        handed = [call for call in calls if ast.unparse(call.func) == imported["master.supervise.supervise"]]
        assert len(handed) == 1
        assert ast.unparse(handed[0].args[1]) == imported["worker.run.work"]


# Start-up.


@pytest.mark.parametrize("arguments", [["--help"], ["start", "--help"], ["--version"]])
def test_help_loads_the_command_line_and_nothing_else(arguments):
    loaded = modules_after(
        "import wproxy.__main__ as command",
        f"try: command.main({arguments!r})",
        "except SystemExit as end: assert not end.code",
    )
    ours = {name for name in loaded if room_of(name) in ROOMS}
    words = ("__main__", "check", "check.arguments", "cli", "compiled", "identity", "version")
    assert ours == {"wproxy", *(f"wproxy.{name}" for name in words)}
    # What argparse itself takes is its own affair: since Python 3.14 it colours its help, with dataclasses and all.
    unavoidable = modules_after(
        "import argparse",
        "try: argparse.ArgumentParser().parse_args(['--help'])",
        "except SystemExit: pass",
    )
    unwanted = {*THIRD_PARTY, *MODULES_OF_DEEDS, "inspect", "difflib", "logging", "json"} - LOCKS - unavoidable
    assert not {room_of(name) for name in loaded} & unwanted


# What is imported by workers whose locations ask for it, each with a line of configuration that does.
ON_DEMAND = {
    "hpack": 'grpc_pass = "grpc://127.0.0.1:1"',
    "ssl": 'proxy_pass = "https://127.0.0.1:1"',
    "worker.cache.answering": None,
    "worker.client.http2": None,
    "worker.client.secure": None,
    "worker.content.api": "api = true",
    "worker.content.autoindex": "autoindex = true",
    "worker.content.dav": 'dav_methods = "PUT"',
    "worker.content.empty_gif": "empty_gif = true",
    "worker.content.metrics": "metrics = true",
    "worker.content.mirror": 'mirror = "/copy"',
    "worker.content.random_index": "random_index = true",
    "worker.content.stub_status": "stub_status = true",
    "worker.filters.addition": 'add_before_body = "/before"',
    "worker.filters.brotli": "brotli = true",
    "worker.filters.grpc_errors": "grpc_errors = true",
    "worker.filters.gunzip": "gunzip = true",
    "worker.filters.slices": 'slice = "1m"',
    "worker.filters.ssi": "ssi = true",
    "worker.filters.store": 'proxy_pass = "http://127.0.0.1:1"\nproxy_store = true\nroot = "/tmp"',
    "worker.filters.sub_filter": 'sub_filter = [["a", "b"]]',
    "worker.filters.userid": "userid = true",
    "worker.filters.zstd": "zstd = true",
    "worker.http2": 'proxy_pass = "http://127.0.0.1:1"\nproxy_http_version = "2"',
    "worker.upstream.protocols.closing": 'scgi_pass = "127.0.0.1:1"',
    "worker.upstream.protocols.fastcgi": 'fastcgi_pass = "127.0.0.1:1"',
    "worker.upstream.protocols.memcached": 'set = ["$memcached_key", "$uri"]\nmemcached_pass = "127.0.0.1:1"',
}
# Makes workers in an interpreter of its own: a plain one, and one for each line. Prints what is loaded too early, or not at all, or
# by the worker itself.
WORKERS = """
import json, sys
import worker.client.accept, worker.run
from worker.imports import import_needed
from wproxy.assignment import Assignment
from wproxy.config.load import load_text
from wproxy.shared import PRIVATE_BYTES, SharedWords

def begin(line):
    text = 'error_log = "stderr"\\n[http]\\naccess_log = false\\n[http.server.location."/"]\\n' + line + '\\n'
    configuration = import_needed(load_text(text.encode(), 'wproxy.toml', '/tmp', lambda host, port: []))
    loaded = set(sys.modules)
    for upstream in configuration.upstreams:
        for number, peer in enumerate(upstream.peers):
            object.__setattr__(peer, 'record', number)
    words = memoryview(bytearray(PRIVATE_BYTES)).cast('Q')
    worker.run.Worker(Assignment(configuration, 0, 0, 1, (), SharedWords(words), -1, -1, bell=None))
    late.update(set(sys.modules) - loaded)

late = set()
rows = json.loads(sys.argv[1])
begin('root = "/tmp"')
begin('proxy_pass = "http://127.0.0.1:1"')
early = [name for name in rows if name in sys.modules]
for line in filter(None, rows.values()):
    begin(line)
print(early, [name for name, line in rows.items() if line and name not in sys.modules], sorted(late))
"""


def test_what_few_configurations_need_is_loaded_only_where_it_is_configured():
    command = [sys.executable, "-S", "-c", WORKERS, json.dumps(ON_DEMAND)]
    run = subprocess.run(command, cwd=HOUSE, env=bare_environment(), capture_output=True, text=True)
    assert run.stdout == "[] [] []\n", run.stderr


# Documentation.


def public_definitions(module: str) -> Iterator[tuple[str, ast.AST]]:
    """Public classes, functions and methods of a module by name; not what is defined inside a function."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not child.name.startswith("_"):
                yield prefix + child.name, child
                if isinstance(child, ast.ClassDef) and not is_value_class(child):
                    yield from walk(child, f"{prefix}{child.name}.")

    yield from walk(tree_of(module), "")


def is_value_class(node: ast.ClassDef) -> bool:
    """NamedTuple, dataclass or Protocol: the class says what its members are."""
    bases = {ast.unparse(base).partition("[")[0] for base in node.bases}
    decorators = {ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list}
    return bool(bases & {"NamedTuple", "Protocol"} or decorators & {"dataclass", "dataclasses.dataclass"})


def is_reader_of_a_variable(node: ast.AST) -> bool:
    """Its decorator is its name; routing.md §4 is its documentation."""
    decorators = getattr(node, "decorator_list", ())
    return any(isinstance(call, ast.Call) and ast.unparse(call.func) in ("variable", "family") for call in decorators)


def undocumented(*rooms: str) -> list[str]:
    return [
        f"{module}:{node.lineno} {name}"  # type: ignore[attr-defined]
        for module in modules_of(*rooms)
        for name, node in public_definitions(module)
        if not ast.get_docstring(node) and not is_reader_of_a_variable(node)  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_everything_public_says_what_it_is_for(room):
    assert undocumented(room) == []


@for_every(MODULES)
def test_every_module_opens_with_its_theory(module):
    assert ast.get_docstring(tree_of(module)) or not tree_of(module).body
