"""The configurations in tests/examples load as they are: `-t` succeeds, names what has no effect yet, and a start is refused where
something that guards is missing."""

from __future__ import annotations

import os
import re
import shutil

import pytest

from tests.example_copies import DEPLOYMENTS, LESSON, copy_deployment, copy_lesson, in_toml
from wproxy.__main__ import main
from wproxy.config.convert import NGINX, TOML
from wproxy.config.effects import is_idle
from wproxy.config.load import load_document
from wproxy.config.registry import MAIN, find_directive
from wproxy.config.tree import Node

# Why a start of each refuses, by directive or "listen PARAMETER"; empty: it starts. To be made shorter as features arrive.
REFUSED = {
    "debian": "",
    "django": "",
    "gitlab": "",
    "grafana": "",
    "grpc": "",
    "h5bp": "",
    "homeassistant": "",
    "jenkins": "",
    "kubernetes": "",
    "laravel": "",
    "mastodon": "",
    "migrated": "",
    "minio": "",
    "modern": "listen:quic",
    "nextcloud": "",
    "nextjs": "",
    "node": "",
    "phpmyadmin": "",
    "plausible": "",
    "prometheus": "",
    "rails": "",
    "registry": "",
    "spa": "",
    "synapse": "",
    "wordpress": "",
}

_SUBJECT = re.compile(r'"(\w+)" (?:directive|parameter of "(listen)" directive) is (not yet|accepted and not yet) effective')


class Told:
    """What `-t` said."""

    def __init__(self, code: int, errors: str) -> None:
        self.code = code
        self.errors = errors
        self.lines = errors.splitlines()
        found = [(match, line) for line in self.lines if (match := _SUBJECT.search(line))]
        self.accepted = {self.subject(match) for match, _ in found if match[3] != "not yet"}
        self.places = {self.subject(match): line.rpartition(" in ")[2] for match, line in found}

    @staticmethod
    def subject(match: re.Match[str]) -> str:
        return f"listen:{match[1]}" if match[2] else match[1]


@pytest.fixture
def tell(capsys):
    """Runs the command with these words."""

    def tell(*words: object) -> Told:
        code = main([str(word) for word in words])
        return Told(code, capsys.readouterr().err)

    return tell


@pytest.fixture(params=[NGINX, TOML])
def syntax(request):
    return request.param


def written(name, directory, syntax):
    file = copy_deployment(name, directory)
    return in_toml(file) if syntax == TOML else file


def ineffective_names(node: Node, context: int) -> dict[str, str]:
    """What a tree asks for and will not get, by a walk of its own: subject to the place where it first stands."""
    found: dict[str, str] = {}
    for child in node.children or ():
        row = find_directive(child.name, context)
        assert row is not None and row.contexts & context, child
        if not row.effective and not is_idle(child):
            found.setdefault(child.name, str(child.position))
        if child.name == "listen":
            for word in set(child.arguments[1:]) & set(row.idle_parameters):
                found.setdefault(f"listen:{word}", str(child.position))
        if row.block and not row.has_entries:
            for subject, place in ineffective_names(child, row.block).items():
                found.setdefault(subject, place)
    return found


def test_there_is_a_row_for_every_deployment():
    assert list(REFUSED) == DEPLOYMENTS


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_loads_and_what_it_does_not_get_is_named(name, syntax, tmp_path, tell):
    file = written(name, tmp_path, syntax)
    told = tell("-t", "-p", f"{file.parent}/", "-c", file)
    assert told.code == 0, told.errors
    assert told.lines[-1] == f"wproxy: configuration file {file} test is successful"
    assert not [line for line in told.lines if "[emerg]" in line or "[alert]" in line]
    expected = ineffective_names(load_document(str(file)).root, MAIN)
    assert told.accepted == set(expected)
    assert all(place.startswith(str(file.parent)) for place in told.places.values())


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_start_is_refused_where_a_guard_is_missing(name, syntax, tmp_path):
    from master.names import look_up
    from wproxy.config.load import load_configuration

    file = written(name, tmp_path, syntax)
    configuration = load_configuration(str(file), f"{file.parent}/", look_up)
    refused = {_SUBJECT.search(str(problem)) for problem in configuration.refusals}
    assert None not in refused, configuration.refusals
    assert " ".join(sorted(Told.subject(match) for match in refused if match)) == REFUSED[name]


def test_a_refused_start_says_why_and_leaves_nothing_running(tmp_path, tell):
    file = copy_deployment("modern", tmp_path)
    told = tell("-p", f"{file.parent}/", "-c", file)
    assert told.code == 1
    emergencies = [line for line in told.lines if "[emerg]" in line]
    assert {Told.subject(_SUBJECT.search(line)) for line in emergencies} == set(REFUSED["modern"].split())
    assert not (file.parent / "nginx.pid").exists()


@pytest.mark.parametrize("name", LESSON)
def test_a_configuration_of_the_lesson_loads(name, syntax, tmp_path, tell):
    apps = {f"app{number}": f"127.0.0.1:{9000 + number}" for number in range(1, 5)}
    file = copy_lesson(name, tmp_path / "lesson", listen="127.0.0.1:8080", root=tmp_path, **apps)
    file = in_toml(file) if syntax == TOML else file
    told = tell("-t", "-p", f"{file.parent}/", "-c", file)
    assert told.code == 0, told.errors
    assert not told.places, "all of it has its effect"
    assert not [line for line in told.lines if "[warn]" in line]


# What a distribution installs


@pytest.mark.skipif(not os.path.exists("/etc/nginx/sites-available/default"), reason="Debian's nginx is not installed")
def test_the_files_of_debians_package_are_fine(tmp_path, tell):
    """/etc/nginx as it was installed, but for the paths under /run, /var and /etc, which become ours."""
    shutil.copytree("/etc/nginx", tmp_path / "etc", symlinks=False, ignore_dangling_symlinks=True)
    for directory in ("log/nginx", "run", "etc/sites-enabled"):
        (tmp_path / directory).mkdir(parents=True, exist_ok=True)
    shutil.copy(tmp_path / "etc/sites-available/default", tmp_path / "etc/sites-enabled/default")
    for file in (tmp_path / "etc/nginx.conf", tmp_path / "etc/sites-enabled/default"):
        text = file.read_text()
        for theirs, ours in (("/etc/nginx", "etc"), ("/run/", "run/"), ("/var/log", "log")):
            text = text.replace(theirs, str(tmp_path / ours))
        text = re.sub(r"^\s*user .*;", "", text, flags=re.MULTILINE)
        # Another server may hold port 80, and may not let us try it.
        file.write_text(re.sub(r"(listen (?:\[::\]:)?)80\b", r"\g<1>18080", text))
    main_file = tmp_path / "etc/nginx.conf"
    told = tell("--as-nginx", "-t", "-p", f"{tmp_path}/", "-c", main_file)
    assert told.code == 0, told.errors
    assert told.lines[-1] == f"nginx: configuration file {main_file} test is successful"
    assert told.accepted == set(), "all of it is carried out"
    assert not [line for line in told.lines if "[emerg]" in line]
