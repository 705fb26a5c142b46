"""What CI makes of the compiled build (.ci/run): it has to pass where it can be made. `make` only says here what it is asked for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
MAKE = """#!/bin/sh
echo "make: $1, level ${WPROXY_COMPILE_LEVEL:-not said}"
[ "$1" != "$FAILING" ] || exit 2
"""
WORKING_COMPILER = "#!/bin/sh\nexit 0\n"
NO_LIBRARY = "#!/bin/sh\necho 'fatal error: stdlib.h: No such file or directory' >&2\nexit 1\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What .ci/run needs of the tree: itself, a Python that knows wproxy, and a make."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(HOUSE / ".ci" / "run", tmp_path / ".ci" / "run")
    for path, text in (
        (".venv/bin/python", f'#!/bin/sh\nPYTHONPATH={HOUSE} exec {sys.executable} "$@"\n'),
        ("bin/make", MAKE),
        ("bin/compiler", WORKING_COMPILER),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)
    return tmp_path


def run(tree: Path, compiler: str = "compiler", failing: str = "") -> tuple[int, list[str]]:
    """CI's exit code and what it says."""
    environment = {**os.environ, "PATH": f"{tree}/bin:{os.environ['PATH']}", "CC": compiler, "FAILING": failing}
    environment.pop("WPROXY_COMPILE_LEVEL", None)
    done = subprocess.run([tree / ".ci" / "run"], env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


TESTED = ["make: test, level not said", "make: compiled-test, level 0"]


def test_both_builds_are_tested(tree):
    assert run(tree) == (0, TESTED)


def test_what_fails_interpreted_fails_before_anything_is_compiled(tree):
    assert run(tree, failing="test") == (2, TESTED[:1])


def test_what_fails_compiled_fails_too(tree):
    code, (*before, said) = run(tree, failing="compiled-test")
    assert (code, before) == (2, TESTED)
    assert said.startswith("THE COMPILED BUILD FAILS (exit code 2)")


def test_a_compiled_build_that_does_not_end_fails(tree):
    (tree / "bin" / "timeout").write_text("#!/bin/sh\nexit 124\n")
    (tree / "bin" / "timeout").chmod(0o755)
    assert run(tree) == (124, [TESTED[0], "THE COMPILED BUILD and its tests have not ended within 1500 seconds."])


def test_without_a_compiler_ci_says_so_and_tests_the_interpreted_build_alone(tree):
    said = "The compiled build is not tested: there is no C compiler (there-is-none): "
    assert run(tree, "there-is-none") == (0, [TESTED[0], f"{said}install one (on Debian: apt-get install gcc), or set CC"])


def test_without_the_headers_of_the_c_library_too(tree):
    (tree / "bin" / "compiler").write_text(NO_LIBRARY)
    said = "The compiled build is not tested: compiler finds no headers of the C library: "
    assert run(tree) == (0, [TESTED[0], f"{said}install them (on Debian: apt-get install libc6-dev)"])


@pytest.mark.skipif(not (HOUSE / ".git").exists(), reason="git tells what the copy has to have")
def test_what_cannot_be_compiled_is_said_at_the_end(tmp_path):
    """tests/compiled_tree.sh, with a compiler that fails for Python's headers."""
    compiler = tmp_path / "compiler"
    compiler.write_text(NO_LIBRARY)
    compiler.chmod(0o755)
    (tmp_path / "python").write_text(f'#!/bin/sh\n[ "$1" != setup.py ] || exec {compiler}\nexit 1\n')
    (tmp_path / "python").chmod(0o755)
    command = ["sh", HOUSE / "tests" / "compiled_tree.sh", tmp_path / "python", tmp_path / "tree"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    cause, said = done.stderr.splitlines()
    assert cause.startswith("fatal error: ") and said.startswith("THE MODULES OF wproxy/compiled.py CANNOT BE COMPILED")


def test_the_same_mypy_checks_and_compiles():
    """mypyc is a part of it: with another one the compiled build may fail though nothing of ours has changed."""
    checks = re.search(r"^    (mypy[<>=].*)$", (HOUSE / "setup.cfg").read_text(), re.MULTILINE)
    compiles = re.search(r'setup_requires=\["(mypy.*)"\]', (HOUSE / "setup.py").read_text())
    assert checks is not None and compiles is not None
    assert checks[1] == compiles[1] and "<" in checks[1]
