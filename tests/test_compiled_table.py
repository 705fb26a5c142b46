"""The table of compiled modules (wproxy/compiled.py): it is whole, and its modules have nothing that mypyc cannot compile."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from wproxy import compiled
from wproxy.compiled import COMPILED, HOT, INTERPRETED, compiled_modules, how_it_runs, missing_to_compile, source_of

HOUSE = Path(__file__).parent.parent
OURS = [
    ".".join(path.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__")
    for room in ("wproxy", "master", "worker")
    for path in sorted((HOUSE / room).rglob("*.py"))
]

# Calls that may be made twice.
WITHOUT_EFFECT = {"len", "index", "start", "end", "vary_of"}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((HOUSE / source_of(module)).read_text("utf-8"))


def test_each_module_of_the_table_exists_and_is_in_it_once():
    assert [module for module in (*COMPILED, *INTERPRETED) if not (HOUSE / source_of(module)).is_file()] == []
    assert len({*COMPILED, *INTERPRETED}) == len(COMPILED) + len(INTERPRETED)
    assert all(INTERPRETED.values())


@pytest.mark.parametrize("package", HOT)
def test_each_module_of_a_hot_package_is_compiled_or_has_a_reason(package):
    files = (HOUSE / package.replace(".", "/")).glob("*.py")
    modules = {f"{package}.{file.stem}" for file in files if file.stem != "__init__"}
    assert modules - {*COMPILED, *INTERPRETED} == set()


@pytest.mark.parametrize("module", COMPILED)
def test_a_compiled_module_has_nothing_that_mypyc_cannot_compile(module):
    """Each of these has failed only when it ran: generators that are awaited, classes of sockets, and calls in the bounds of a
    slice, which mypyc 2.4 makes twice."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
            assert not decorators & {"types.coroutine", "coroutine"}, f"{module}:{node.lineno}"
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base) for base in node.bases}
            assert not bases & {"socket.socket", "_socket.socket"}, f"{module}:{node.lineno}"
        if isinstance(node, ast.Delete):  # of an argument: it has no value from the beginning on, and the interpreter crashes
            assert not any(isinstance(target, ast.Name) for target in node.targets), f"{module}:{node.lineno}"
        if isinstance(node, ast.Slice):
            calls = {ast.unparse(call.func).rpartition(".")[2] for call in ast.walk(node) if isinstance(call, ast.Call)}
            assert calls <= WITHOUT_EFFECT, f"{module}:{node.lineno}"


@pytest.mark.parametrize("module", COMPILED)
def test_nothing_waits_while_a_compiled_coroutine_handles_an_exception(module):
    """mypyc 2.4 gives a coroutine no state of exceptions of its own: what one handles while it is parked is what all others handle.

    try: raise KeyError           one of two tasks; the other has a ValueError
    except KeyError:
        await park(...)           the other one runs
        raise                     raises the ValueError, or None, of which a traceback then destroys the type: a crash, later
    """
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Try):
            for part in (*(statement for handler in node.handlers for statement in handler.body), *node.finalbody):
                waits = [inner for inner in ast.walk(part) if isinstance(inner, ast.Await | ast.Yield | ast.YieldFrom)]
                assert not waits, f"{module}:{waits[0].lineno}"
        assert not isinstance(node, ast.AsyncWith | ast.AsyncFor), f"{module}:{node.lineno}"


@pytest.mark.parametrize("module", COMPILED)
def test_each_name_of_an_exception_has_one_type_in_a_compiled_function(module):
    """mypyc gives a name one type: `except A as error` and then `except B as error` is a TypeError when it is a B."""
    for function in ast.walk(tree_of(module)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            types: dict[str, str] = {}
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                    text = ast.unparse(node.type)
                    assert types.setdefault(node.name, text) == text, f"{module}:{node.lineno}"


# Slices with two bounds that are always in order, or of something else than bytes.
IN_ORDER = {
    ("worker.client.http1.repeated_fastcgi", "answer[place:end]"),
    ("wproxy.peer_counters", "words[row:row + ROW_WORDS]"),
    ("wproxy.template", "text[position:match.start()]"),
    ("worker.http1.chunked", "data[position:end]"),
    ("worker.http1.head_shape", "raw_lines[start:index]"),
    ("worker.http1.head_shape", "block[len(self.begin):len(block) - len(self.end)]"),
    ("worker.http1.hosts", "host[1:-1]"),
    ("worker.http1.request", "buffer[line_end + 2:consumed - 4]"),
    ("worker.http1.request", "buffer[line_end:consumed]"),
    ("worker.http1.request", "memo.block.split(b'\\r\\n')[1:-2]"),
    ("worker.http1.unusual_head", "buffer[start:consumed]"),
    ("worker.http1.unusual_head", "buffer[start:line_end]"),
    ("worker.http1.unusual_head", "head[line_end + 2:-4]"),
    ("worker.client.http2.exchange", "view[begin:at]"),
    ("worker.client.http2.response", "date_line[6:-2]"),
    ("worker.fastcgi.records", "data[position:position + HEADER]"),
    ("worker.fastcgi.records", "data[position:position + left]"),
    ("worker.fastcgi.records", "pairs[name:value]"),
    ("worker.fastcgi.records", "pairs[position:name]"),
    ("worker.fastcgi.records", "pairs[position:position + 1]"),
    ("worker.fastcgi.records", "pairs[position:position + wide]"),
    ("worker.fastcgi.records", "records[position + 4:position + 6]"),
    ("worker.fastcgi.records", "records[position:position + length]"),
    ("worker.fastcgi.records", "view[begin:begin + _PIECE]"),
    ("worker.http2.frames", "block[at:at + max_frame_size]"),
    ("worker.http2.frames", "buffer[begin:end]"),
    ("worker.http2.frames", "payload[1:len(payload) - padding]"),
    ("worker.http2.header_block", "block[at:end]"),
    ("worker.limits.connection_zone", "cells[way * CELLS:(way + 1) * CELLS]"),
    ("worker.limits.connection_zone", "words[bucket + _RECORDS:bucket + _RECORDS + WAYS * CELLS]"),
    ("worker.limits.connection_zone", "words[entry:entry + CELLS]"),
    ("worker.limits.request_zone", "self._words[bucket + _RECORD:bucket + _RECORD + WAYS]"),
    ("worker.logs.access", "memory[begin:end]"),
    ("worker.upstream.protocols.closing", "packet[1:3]"),
    ("worker.upstream.protocols.closing", "packet[position + 2:position + 2 + size]"),
    ("worker.upstream.protocols.closing", "packet[position:position + 2]"),
    ("worker.upstream.protocols.fastcgi", "data[HEADER:end]"),
    ("worker.upstream.protocols.fastcgi", "data[place:end]"),
    ("worker.upstream.protocols.http1", "composed.lines[start:place]"),
    ("worker.upstream.protocols.http2_stream", "view[at:end]"),
}


def two_bounds(part: ast.expr) -> bool:
    """Whether a slice has both bounds, and no step, with which it is none of bytes here."""
    return isinstance(part, ast.Slice) and part.lower is not None and part.upper is not None and part.step is None


@pytest.mark.parametrize("module", COMPILED)
def test_no_compiled_slice_of_bytes_ends_before_it_begins(module):
    """With mypyc 2.4 `b"abc"[2:1]` is no empty value but a SystemError: who adds a slice with two bounds here has looked."""
    slices = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice)]
    bounded = {ast.unparse(node) for node in slices if two_bounds(node.slice)}
    assert {text for text in bounded if (module, text) not in IN_ORDER} == set()


def is_of_fixed_length(annotation: ast.expr, aliases: set[str]) -> bool:
    """Whether it names a tuple of a fixed length, or one or None."""
    types = [text.strip("'\"") for text in ast.unparse(annotation).split(" | ")]
    return any(text in aliases or (text.startswith("tuple[") and not text.endswith(", ...]")) for text in types)


def names_of_tuples() -> set[str]:
    """Return the names, in compiled modules, of what is annotated as a tuple of a fixed length, and of such constants."""
    nodes = [node for module in COMPILED for node in ast.walk(tree_of(module))]
    assigned = [
        (node.targets[0].id, node.value)
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    aliases = {name for name, value in assigned if isinstance(value, ast.Subscript) and is_of_fixed_length(value, set())}
    constants = {name for name, value in assigned if isinstance(value, ast.Tuple) and name.isupper()}
    annotated = [(node.target, node.annotation) for node in nodes if isinstance(node, ast.AnnAssign)]
    annotated += [(node, node.annotation) for node in nodes if isinstance(node, ast.arg) and node.annotation]
    return constants | {last_name(target) for target, annotation in annotated if is_of_fixed_length(annotation, aliases)}


def last_name(node: ast.expr | ast.arg) -> str:
    """Return `b` of `a.b`."""
    return node.arg if isinstance(node, ast.arg) else node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)


# Comparisons of identity with something of such a name that is no tuple of a fixed length.
NO_TUPLES = {
    ("worker.client.http2.connection", "head is self.routed_head"),
    ("worker.client.http2.response", "known is not lines"),
    ("worker.http2.request_head", "pair is old"),  # they are, and their values are compared next
    ("worker.logs.formats", "known is request_line"),
}


def test_no_compiled_tuple_is_asked_for_its_identity():
    """mypyc keeps a tuple of a fixed length as its values, and makes a new object of them where one is needed: `is` is never true."""
    names = names_of_tuples()
    assert {"VARY", "taken"} <= names
    for module in COMPILED:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is | ast.IsNot):
                sides = (node.left, node.comparators[0])
                if not any(isinstance(side, ast.Constant) for side in sides) and names & {last_name(side) for side in sides}:
                    assert (module, ast.unparse(node)) in NO_TUPLES, f"{module}:{node.lineno}"


def protocols() -> set[str]:
    """Return the names of the protocols in compiled modules."""
    classes = [node for module in COMPILED for node in ast.walk(tree_of(module)) if isinstance(node, ast.ClassDef)]
    return {node.name for node in classes if any(ast.unparse(base).startswith("Protocol") for base in node.bases)}


def test_no_default_of_a_compiled_exception_is_lost():
    """mypyc 2.4 sets no defaults of exceptions: they are variables of the class (ClassVar)."""
    exceptions = {"Exception", "ValueError", "OSError"}
    for module in COMPILED:
        for owner in ast.walk(tree_of(module)):
            if isinstance(owner, ast.ClassDef) and any(ast.unparse(base) in exceptions for base in owner.bases):
                exceptions.add(owner.name)
                for node in owner.body:
                    if isinstance(node, ast.AnnAssign):
                        assert node.value is None or "ClassVar" in ast.unparse(node.annotation), f"{module}:{node.lineno}"
                    assert not isinstance(node, ast.Assign), f"{module}:{node.lineno}"


def test_no_default_of_a_compiled_class_is_lost():
    """mypyc 2.4 ignores a default None where the type has a protocol of a compiled module, or several classes: see wproxy.native."""
    names = protocols()
    assert "Exchange" in names
    for module in COMPILED:
        for owner in ast.walk(tree_of(module)):
            for node in owner.body if isinstance(owner, ast.ClassDef) else ():
                if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant) and node.value.value is None:
                    if any("native_class=False" in ast.unparse(decorator) for decorator in owner.decorator_list):
                        continue
                    types = set(ast.unparse(node.annotation).strip("'").split(" | ")) - {"None"}
                    assert len(types) == 1 or "[" in ast.unparse(node.annotation), f"{module}:{node.lineno}"
                    assert not types & names, f"{module}:{node.lineno}"


def test_who_can_be_called_derives_from_classes_that_can():
    """mypyc 2.4 gives a class with `__call__` one more pointer, before what it has from a base: one without reads it as an attribute."""
    classes = {node.name: node for module in COMPILED for node in ast.walk(tree_of(module)) if isinstance(node, ast.ClassDef)}
    callable_ones = {name for name, node in classes.items() if "__call__" in {getattr(each, "name", "") for each in node.body}}
    assert {"Connection", "HeadMemo"} <= callable_ones
    for name in callable_ones:
        for base in classes[name].bases:
            found = ast.unparse(base).partition("[")[0]
            assert found not in classes or found in callable_ones or found in protocols(), f"{name}({found})"


@pytest.mark.parametrize("module", COMPILED)
def test_who_allows_interpreted_subclasses_derives_from_classes_that_do(module):
    """mypyc refuses the others: then nothing is compiled at all."""
    origins = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in tree_of(module).body
        if isinstance(node, ast.ImportFrom) and node.module in COMPILED
        for alias in node.names
    }
    for owner in tree_of(module).body:
        if isinstance(owner, ast.ClassDef) and allows_subclasses(owner):
            for base in owner.bases:
                origin, name = origins.get(ast.unparse(base), (module, ast.unparse(base)))
                named = [node for node in tree_of(origin).body if isinstance(node, ast.ClassDef) and node.name == name]
                assert all(map(allows_subclasses, named)), f"{module}:{owner.lineno}: {origin}.{name}"


def test_interpreted_classes_derive_from_compiled_ones_that_allow_it():
    """Otherwise the class cannot be made: a TypeError when its module is imported, perhaps by few configurations."""
    derived = 0
    for module in OURS:
        if module in COMPILED:
            continue
        imports = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.ImportFrom) and node.module in COMPILED]
        origins = {alias.asname or alias.name: (node.module, alias.name) for node in imports for alias in node.names}
        for owner in ast.walk(tree_of(module)):
            for base in owner.bases if isinstance(owner, ast.ClassDef) else ():
                origin, name = origins.get(ast.unparse(base).partition("[")[0], ("", ""))
                if origin:
                    (found,) = (node for node in tree_of(origin).body if isinstance(node, ast.ClassDef) and node.name == name)
                    derived += 1
                    is_protocol = any(ast.unparse(each).startswith("Protocol") for each in found.bases)
                    assert is_protocol or allows_subclasses(found), f"{module}:{owner.lineno}: {origin}.{name}"
    assert derived > 10


def allows_subclasses(owner: ast.ClassDef) -> bool:
    """Whether interpreted classes may derive from it. (Those that are not native always may.)"""
    words = ("allow_interpreted_subclasses=True", "native_class=False")
    return any(word in ast.unparse(decorator) for decorator in owner.decorator_list for word in words)


# A helper that replaces, whose tests are marked one by one.
MARKED_ELSEWHERE = {"break_head"}


@cache
def fixed_names(module: str) -> set[str]:
    """Return the names in a compiled module that its code does not look up when it runs: functions, classes and constants, its own and
    those of other compiled modules."""
    names: set[str] = set()
    for node in tree_of(module).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and "Final" in ast.unparse(node.annotation):
            names.add(ast.unparse(node.target))
        elif isinstance(node, ast.ImportFrom) and node.module in COMPILED:
            own = fixed_names(node.module)
            names |= {alias.asname or alias.name for alias in node.names if alias.name in own}
    return names


def replacements(tree: ast.Module) -> Iterator[tuple[ast.stmt, str, str]]:
    """Find what a file of tests replaces: the statement of the file that does it, the place, and the name there."""
    places: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            places |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            places |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for statement in tree.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
                target, name = node.args[:2]
                if isinstance(target, ast.Constant):
                    place, _, last = str(target.value).rpartition(".")
                    yield statement, place, last
                elif isinstance(name, ast.Constant):
                    yield statement, places.get(ast.unparse(target), ""), str(name.value)


def is_fixed(place: str, name: str) -> bool:
    """Whether a compiled module does not see that this is replaced: a name in it, or a part of one of its classes."""
    if place in COMPILED:
        return name in fixed_names(place)
    module, _, owner = place.rpartition(".")
    return module in COMPILED and owner in fixed_names(module)


def stand_ins(tree: ast.Module) -> Iterator[ast.stmt]:
    """Find where something that only looks like a request or a client is made; `tests/made_requests.py` makes real ones."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            named = target.id if isinstance(target, ast.Name) else ""
            if named in ("request", "client", "stream", "loop") and ast.unparse(node.value.func) == "SimpleNamespace":
                yield node


def test_what_tests_replace_is_seen_by_compiled_modules_or_they_say_that_they_are_for_interpreted_ones():
    """Otherwise a test fails on the compiled build, or, which is worse, cannot fail there."""
    faults = []
    for file in sorted((HOUSE / "tests").rglob("*.py")):
        text = file.read_text("utf-8")
        if (".setattr(" not in text and "SimpleNamespace" not in text) or "pytestmark = pytest.mark.interpreted_only" in text:
            continue
        tree = ast.parse(text)
        for statement, place, name in replacements(tree):
            named = getattr(statement, "name", "")
            marks = " ".join(map(ast.unparse, getattr(statement, "decorator_list", ())))
            if is_fixed(place, name) and "interpreted_only" not in marks and named not in MARKED_ELSEWHERE:
                faults.append(f"{file.relative_to(HOUSE)}: {named}: {place}.{name} is replaced")
        faults += [f"{file.relative_to(HOUSE)}:{node.lineno}: {ast.unparse(node)}" for node in stand_ins(tree)]
    assert faults == []


def test_a_replacement_that_is_not_seen_and_a_stand_in_are_found():
    text = """
import worker.client.http1.serve as serve
from worker.http1 import request
from worker.loop import Loop

def test_one(monkeypatch):
    monkeypatch.setattr(serve, "take_request_head", print)
    monkeypatch.setattr(Loop, "turn", print)
    monkeypatch.setattr("worker.loop.time", print)
    monkeypatch.setattr("worker.loop.Task", print)
    client: Any = SimpleNamespace(clock=None)
"""
    found = [is_fixed(place, name) for _, place, name in replacements(ast.parse(text))]
    assert found == [True, True, False, True]
    assert [ast.unparse(node) for node in stand_ins(ast.parse(text))] == ["client: Any = SimpleNamespace(clock=None)"]


@pytest.mark.soak
def test_mypyc_writes_c_for_all_modules(tmp_path):
    """As setup.py has it do, without compiling the C, which takes 18 to 27 seconds of a processor.

    Not in each run: whoever makes the compiled build, as CI does, notices what mypyc refuses.
    """
    code = f"""
from mypyc.build import mypycify
from wproxy.compiled import COMPILED, GROUPS, source_of
mypycify(
    ["--config-file", "setup.cfg", "--cache-dir", {str(tmp_path / "cache")!r}, "--no-warn-unreachable", *map(source_of, COMPILED)],
    separate=[([source_of(module) for module in group], name) for name, group in GROUPS.items()],
    target_dir={str(tmp_path)!r},
)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {file.name for file in tmp_path.glob("__native_*.c")} >= {f"__native_{name}.c" for name in compiled.GROUPS}


def test_without_extensions_wproxy_says_that_it_is_interpreted(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "_HOUSE", str(tmp_path))
    assert (compiled_modules(), how_it_runs()) == ([], "interpreted")


def test_with_extensions_it_says_how_many_modules_are_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "_HOUSE", str(tmp_path))
    for module in COMPILED:
        file = tmp_path / module.replace(".", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_name(f"{file.name}{compiled.EXTENSION_SUFFIXES[0]}").touch()
        if module == COMPILED[0]:
            assert how_it_runs() == f"1 of {len(COMPILED)} modules compiled"
    missing = len(COMPILED) - len(compiled_modules())
    assert missing == sum(source_of(module).endswith("/__init__.py") for module in COMPILED)


def test_what_is_missing_to_compile_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", f"{tmp_path}/compiler -pthread")
    words = "install one (on Debian: apt-get install gcc), or set CC"
    assert missing_to_compile() == f"there is no C compiler ({tmp_path}/compiler): {words}"
    (tmp_path / "compiler").touch(0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / name))
    words = "install them (on Debian: apt-get install python3-dev)"
    assert missing_to_compile() == f"there are no headers of this Python ({tmp_path}/include/Python.h): {words}"
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").touch()
    assert missing_to_compile() == ""


def test_only_who_asks_for_the_compiled_build_needs_a_compiler():
    environment = {**os.environ, "CC": "there-is-none"}
    environment.pop("WPROXY_COMPILE", None)
    words = [sys.executable, "setup.py", "--quiet", "build_ext", "--dry-run"]
    done = subprocess.run(words, cwd=HOUSE, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(words, cwd=HOUSE, env={**environment, "WPROXY_COMPILE": "1"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: wproxy cannot be compiled: there is no C compiler (there-is-none): ")
