"""The command that starts the program again."""

import pytest

from master.command_line import command_to_repeat

PYTHON = "/opt/venv/bin/python"


@pytest.mark.parametrize(
    ("original", "arguments", "first_line", "path", "words"),
    (
        # python -m wproxy: the program sees the path of its __main__.
        (["python", "-m", "wproxy", "start"], ["/src/wproxy/__main__.py", "start"], "", PYTHON, None),
        ([PYTHON, "-X", "dev", "-m", "wproxy", "quit"], ["/src/wproxy/__main__.py", "quit"], "", PYTHON, None),
        # The console script, by its first line: the script itself, whatever its first line says by then.
        ([PYTHON, "/opt/venv/bin/wproxy", "start"], ["/opt/venv/bin/wproxy", "start"], f"#!{PYTHON}", "/opt/venv/bin/wproxy", 1),
        ([PYTHON, "/usr/sbin/nginx", "-g", "a b;"], ["/usr/sbin/nginx", "-g", "a b;"], f"#!{PYTHON}", "/usr/sbin/nginx", 1),
        ([PYTHON, "-I", "bin/wproxy"], ["bin/wproxy"], f"#!{PYTHON} -I", "bin/wproxy", 2),
        (["python3", "/bin/wproxy", "-t"], ["/bin/wproxy", "-t"], "#!/usr/bin/env python3", "/bin/wproxy", 1),
        # The script, but with another interpreter or other options than it names: exactly that again.
        (["/other/python", "/bin/wproxy"], ["/bin/wproxy"], f"#!{PYTHON}", PYTHON, None),
        ([PYTHON, "-u", "/bin/wproxy"], ["/bin/wproxy"], f"#!{PYTHON}", PYTHON, None),
        # pip's script for a long path goes through a shell.
        ([PYTHON, "/bin/wproxy"], ["/bin/wproxy"], "#!/bin/sh", PYTHON, None),
        ([PYTHON, "script.py", "x"], ["script.py", "x"], "", PYTHON, None),
    ),
)
def test_how_it_is_started_again(original, arguments, first_line, path, words):
    command = command_to_repeat(original, arguments, PYTHON, first_line)
    assert command.path == path
    assert command.words == (original if words is None else original[words:])


def test_an_interpreter_that_does_not_know_its_path_is_found_as_it_was_called():
    assert command_to_repeat(["/usr/bin/python3", "-m", "wproxy"], ["/m.py"], "", "").path == "/usr/bin/python3"
