"""`wproxy convert` from the command line: every example goes to TOML and back, means the same there, and mistakes get one clear line."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest
from harness import COMMAND, ENVIRONMENT, ROOT, wproxy

from tests.example_copies import DEPLOYMENTS, LESSON, copy_deployment, copy_lesson
from worker.explain import explain
from wproxy.__main__ import main
from wproxy.config.load import load_document, resolve_document
from wproxy.config.tree import Node
from wproxy.explain import CannotExplain, Positions, read_question

pytestmark = pytest.mark.whole

PATHS = ("/", "/index.html", "/a.php?b=c", "/api/v1/x?y=%20", "/assets/app.css", "/ws/", "/.git/config")
_VARYING = re.compile(r"(?<=Date: )[^\r\n]*|(?<=Expires: )[^\r\n]*|\d{9,}\.\d{3}|[0-9a-f]{32}")
_PLACE = re.compile(r"[^ (\"]+\.(?:conf|toml|types|default|[a-z.]+):\d+(?::\d+)?|/\S+:\d+(?::\d+)?")


def converted(file: Path, capfdbinary: pytest.CaptureFixture[bytes], *more: str) -> bytes:
    """What `wproxy convert FILE` writes; the command without its process."""
    code = main(["convert", str(file), *more])
    out, err = capfdbinary.readouterr()
    assert (code, err) == (0, b"")
    return out


# Directives whose order among others means something.
_SEQUENCES = {"allow": " access", "deny": " access", **dict.fromkeys(("if", "set", "rewrite", "return", "break"), " steps")}


def tree(nodes: list[Node] | None) -> list:
    """Names, arguments and children. Only the order of directives of one kind matters, so it alone is kept."""
    shapes = [(node.name, node.arguments, None if node.children is None else tree(node.children)) for node in nodes or ()]
    return sorted(shapes, key=lambda shape: _SEQUENCES.get(shape[0], shape[0]))


def no_look_up(host: str, port: int) -> list:
    raise OSError(host)


def meaning(file: Path) -> tuple[list[str], list[str], list[object]]:
    """Warnings, refusals and explanations of requests to every server, without the places in the file."""
    document = load_document(str(file))
    configuration = resolve_document(document, str(file), str(file.parent), no_look_up)
    places = Positions(configuration, document.root)
    found: list[object] = []
    for listener in configuration.listeners:
        hosts = [name.decode() for name in listener.servers.exact if name][:3] or ["other.example"]
        for host in hosts:
            for path in PATHS:
                question = read_question("GET", f"http://{host}{path}", ["Accept: */*"], listen=str(listener.address))
                try:
                    told: object = explain(configuration, places, question)
                except CannotExplain as refusal:
                    told = {"refused": str(refusal)}
                found.append(without_places(told))
    warnings = sorted(problem.text for problem in configuration.warnings)
    return warnings, sorted(problem.text for problem in configuration.refusals), found


def without_places(told: object) -> object:
    """The same without positions, times and request ids; a dictionary in place of an explanation."""
    if dataclasses.is_dataclass(told):
        told = {each.name: getattr(told, each.name) for each in dataclasses.fields(told)}
    if isinstance(told, dict):
        return {key: without_places(value) for key, value in told.items() if key not in ("from",) and not key.endswith("at")}
    if isinstance(told, list):
        return [without_places(one) for one in told]
    return text_without_places(told) if isinstance(told, str) else told


@lru_cache(None)  # the settings of a server are told with each question
def text_without_places(told: str) -> str:
    return _VARYING.sub("VARIES", _PLACE.sub("PLACE", told))


def check_round_trip(file: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> list[object]:
    """There and back from the command line; returns the explanations."""
    there = file.with_name("there.toml")
    back = file.with_name("back.conf")
    there.write_bytes(converted(file, capfdbinary))
    back.write_bytes(converted(there, capfdbinary))
    original = load_document(str(file)).root.children
    assert tree(load_document(str(there)).root.children) == tree(original)
    assert tree(load_document(str(back)).root.children) == tree(original)
    again = file.with_name("again.toml")
    again.write_bytes(converted(there, capfdbinary, "--to", "toml"))
    assert tree(load_document(str(again)).root.children) == tree(original)
    assert converted(again, capfdbinary, "--to", "toml") == again.read_bytes()
    meant = meaning(file)
    assert meaning(there) == meant
    assert meaning(back) == meant
    return meant[2]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_means_the_same_there_and_back(name, tmp_path, capfdbinary):
    told = check_round_trip(copy_deployment(name, tmp_path), capfdbinary)
    assert len(told) >= len(PATHS)
    assert any("action" in one for one in told)


@pytest.mark.parametrize("name", LESSON)
def test_a_configuration_of_the_lesson_means_the_same_there_and_back(name, tmp_path, capfdbinary):
    places = {"listen": "127.0.0.1:8080", **{f"app{n}": f"127.0.0.1:300{n}" for n in range(1, 5)}, "root": str(tmp_path)}
    told = check_round_trip(copy_lesson(name, tmp_path / name, **places), capfdbinary)
    assert any(one["upstream_head"] for one in told)


def test_the_shipped_file_means_the_same_there_and_back(tmp_path, capfdbinary):
    file = tmp_path / "wproxy.toml"
    file.write_bytes((ROOT / "wproxy.toml").read_bytes())
    there = tmp_path / "there.conf"
    there.write_bytes(converted(file, capfdbinary))
    assert tree(load_document(str(there)).root.children) == tree(load_document(str(file)).root.children)
    assert meaning(there) == meaning(file)


def test_the_same_syntax_normalises(tmp_path, capfdbinary):
    file = tmp_path / "a.conf"
    file.write_text("events{}\n\n# why\nhttp{server{listen 8080;location / {return 200 'a b';}}}")
    once = converted(file, capfdbinary, "--to", "nginx")
    assert once == (
        b"events {}\n\n# why\nhttp {\n    server {\n        listen 8080;\n\n        location / {\n"
        b'            return 200 "a b";\n        }\n    }\n}\n'
    )
    file.write_bytes(once)
    assert converted(file, capfdbinary, "--to", "nginx") == once


def test_a_shell_sends_it_where_it_should_go(tmp_path):
    """The one test with processes of its own: `wproxy convert a.conf > a.toml`, and back, and what goes wrong."""
    file = tmp_path / "a.conf"
    file.write_bytes(b"events {}\nhttp { server { listen 127.0.0.1:8080; location / { return 200 '\xc3\xa9'; } } }\n")
    twin = tmp_path / "a.toml"
    with twin.open("wb") as output:
        subprocess.run([*COMMAND, "convert", "a.conf"], stdout=output, check=True, cwd=tmp_path, env=ENVIRONMENT)
    back = subprocess.run([*COMMAND, "convert", "a.toml"], stdout=subprocess.PIPE, check=True, cwd=tmp_path, env=ENVIRONMENT)
    (tmp_path / "b.conf").write_bytes(back.stdout)
    assert tree(load_document(str(tmp_path / "b.conf")).root.children) == tree(load_document(str(file)).root.children)
    done = wproxy("convert", "missing.conf", cwd=tmp_path)
    assert (done.code, done.output) == (1, "")
    assert done.errors == 'wproxy: [emerg] open() "missing.conf" failed (2: No such file or directory)\n'


@pytest.mark.parametrize(
    "name, text, complaints",
    [
        ("a.conf", "events {", [r'unexpected end of file, expecting "}".* in .*a\.conf:1']),
        ("a.conf", "events {}\n}\n", [r'unexpected "}" in .*a\.conf:2$']),
        (
            "a.conf",
            "include missing/x.conf;",
            [r'open\(\) ".*missing/x\.conf" failed \(2: No such file or directory\) in .*a\.conf:1$'],
        ),
        ("a.conf", "events {}\n#\nhttp { a '\udcff'; }", [r"not UTF-8: byte 0xff is not allowed in TOML in .*a\.conf:3$"]),
        ("a.toml", "a = [", [r" in .*a\.toml:1"]),
        ("a.toml", 'user = "a"\nuser = "x"\n', [r" in .*a\.toml:2:"]),
    ],
)
def test_a_broken_file_gets_its_lines(name, text, complaints, tmp_path, capfdbinary):
    file = tmp_path / name
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert main(["convert", str(file)]) == 1
    out, err = capfdbinary.readouterr()
    assert out == b""
    lines = err.decode().splitlines()
    assert len(lines) == len(complaints)
    for line, complaint in zip(lines, complaints, strict=True):
        assert line.startswith("wproxy: [emerg] ")
        assert re.search(complaint, line), line


def test_a_directory_is_no_file(tmp_path, capfdbinary):
    assert main(["convert", str(tmp_path)]) == 1
    assert re.fullmatch(rb"wproxy: \[emerg\] .*\(21: Is a directory\)\n", capfdbinary.readouterr()[1])
