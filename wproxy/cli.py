"""The command line: words to a value. What they do is joined together in `wproxy.__main__`."""

from __future__ import annotations

import argparse
import os

from wproxy.version import VERSION

DEFAULT_FILES = ("wproxy.toml", "/etc/wproxy/wproxy.toml")

_EPILOG = """\
examples:
  wproxy proxy 8080 127.0.0.1:3000 127.0.0.1:3001     a front door without any file
  wproxy start -c wproxy.toml                         start on a configuration
  wproxy reload                                       new workers on the changed configuration
  wproxy status                                       who is at work
"""


def parser() -> argparse.ArgumentParser:
    """The parser of everything after `wproxy`."""
    top = argparse.ArgumentParser(
        prog="wproxy",
        description="An nginx-class reverse proxy in pure Python.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("-v", "--version", action="version", version=f"wproxy {VERSION}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("-c", "--config", metavar="FILE", help=f"the configuration file (default: {' or '.join(DEFAULT_FILES)})")
    where.add_argument(
        "-p", "--prefix", metavar="DIR", help="where relative paths start (default: the configuration file's directory)"
    )

    start = commands.add_parser("start", parents=[where], help="start master and workers")
    start.add_argument("--foreground", action="store_true", help="stay in the foreground whatever `daemon` says")
    commands.add_parser("stop", parents=[where], help="stop at once; requests in progress are cut")
    commands.add_parser("quit", parents=[where], help="stop when all requests are finished")
    commands.add_parser("reload", parents=[where], help="serve the changed configuration; wait until it does")
    commands.add_parser("reopen", parents=[where], help="open log files anew, after a rotation")
    status = commands.add_parser("status", parents=[where], help="show master, workers, connections and requests")
    status.add_argument("--json", action="store_true", help="for programs")

    proxy = commands.add_parser("proxy", help="a front door without a configuration file, in the foreground")
    proxy.add_argument("listen", help="port or address to listen on: 8080, 127.0.0.1:8080, unix:/path")
    proxy.add_argument("upstream", nargs="+", help="where to send requests: 127.0.0.1:3000, unix:/path, several for a pool")
    proxy.add_argument("--workers", default="auto", metavar="N", help="how many workers (default: one for each core)")
    proxy.add_argument("--show-config", action="store_true", help="print the wproxy.toml this stands for, and exit")

    demo = commands.add_parser("demo", help="three small applications behind wproxy, to look at and to break")
    demo.add_argument("-c", "--config", metavar="FILE", help="the configuration file (default: the one that is shipped)")
    demo.add_argument("--once", action="store_true", help="show it once and exit, instead of staying until Ctrl-C")
    return top


def configuration_file(given: str | None) -> str:
    """The configuration file to use: the one given, else the first default that exists, else the first default."""
    if given is not None:
        return given
    return next((path for path in DEFAULT_FILES if os.path.exists(path)), DEFAULT_FILES[0])


def prefix_of(given: str | None, file: str) -> str:
    """The absolute directory that relative paths start from, with a trailing slash."""
    directory = given if given is not None else os.path.dirname(os.path.abspath(file))
    return os.path.join(os.path.abspath(directory), "")
