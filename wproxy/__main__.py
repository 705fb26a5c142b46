"""The command `wproxy`: joins the three rooms. Words are parsed here; deeds are the master's and the worker's."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from wproxy.cli import configuration_file, parser, prefix_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = parser().parse_args(arguments)
    try:
        if given.command == "start":
            return start(given)
        if given.command == "proxy":
            return proxy(given)
        if given.command == "demo":
            return demo(given)
        return control(given)
    except KeyboardInterrupt:
        return 130


def start(given: argparse.Namespace) -> int:
    """`wproxy start`: be the master of a configuration file."""
    from master.names import look_up
    from master.supervise import supervise
    from worker.run import work
    from wproxy.config.load import load_configuration

    file = configuration_file(given.config)
    prefix = prefix_of(given.prefix, file)
    file = os.path.abspath(file) if os.path.exists(file) else file
    return supervise(lambda: load_configuration(file, prefix, look_up), work, foreground=given.foreground or None)


def proxy(given: argparse.Namespace) -> int:
    """`wproxy proxy`: be the master of the configuration that a command line stands for."""
    from wproxy.quick import quick_configuration

    text = quick_configuration(given.listen, given.upstream, given.workers)
    if given.show_config:
        sys.stdout.write(text)
        return 0
    from master.names import look_up
    from master.supervise import supervise
    from worker.run import work
    from wproxy.config.load import load_text

    return supervise(
        lambda: load_text(text.encode("utf-8", "surrogateescape"), "wproxy proxy", os.getcwd(), look_up), work, foreground=True
    )


def demo(given: argparse.Namespace) -> int:
    """`wproxy demo`: three applications behind the shipped configuration."""
    from master.demo import run_demo

    return run_demo(given.config or shipped_configuration(), once=given.once)


def shipped_configuration() -> str:
    """The path of the configuration that is shipped: in a source tree the one at its top; installed, a copy of its own.

    A copy, because logs and the pid file lie beside it.
    """
    shipped = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "wproxy.toml"))
    if os.path.dirname(shipped) != os.path.dirname(os.path.abspath(__file__)):  # a link in a source tree
        return shipped
    import shutil
    import tempfile

    return shutil.copy(shipped, tempfile.mkdtemp(prefix="wproxy-demo-"))


def control(given: argparse.Namespace) -> int:
    """`wproxy stop`, `quit`, `reload`, `reopen` and `status`: find the running master and have it done."""
    from master import control as commands
    from wproxy.config.load import configured_pid
    from wproxy.config.tree import ConfigurationError

    file = configuration_file(given.config)
    try:
        pid_path = configured_pid(file, prefix_of(given.prefix, file))
    except ConfigurationError as error:
        for problem in error.problems:
            sys.stderr.write(f"wproxy: [emerg] {problem}\n")
        return 1
    if given.command == "status":
        from master.status import status

        return status(pid_path, given.json, file)
    deeds = {"stop": commands.stop, "quit": commands.quit, "reload": commands.reload, "reopen": commands.reopen}
    return deeds[given.command](pid_path)


if __name__ == "__main__":
    sys.exit(main())
