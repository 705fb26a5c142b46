"""The command line: words to a value. `wproxy.__main__` joins the commands to what they do.

There are two ways to talk to wproxy. `wproxy COMMAND ...` is read here, with a row of COMMANDS for each. A first word with one
dash, or the name nginx, means nginx's own options, which `wproxy.options` reads.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import NamedTuple

from wproxy.check.arguments import declare as _check
from wproxy.compiled import how_it_runs
from wproxy.version import VERSION

DEFAULT_FILES = ("wproxy.toml", "/etc/wproxy/wproxy.toml")

_EPILOG = """\
examples:
  wproxy proxy 8080 127.0.0.1:3000 127.0.0.1:3001     a front door without any file
  wproxy proxy --tls 8443 127.0.0.1:3000              the same with HTTPS
  wproxy start -c wproxy.toml                         start on a configuration
  wproxy reload                                       new workers on the changed configuration
  wproxy upgrade                                      the newly installed wproxy, without losing a connection
  wproxy status                                       master, workers, connections and requests
  wproxy top                                          what it is doing, live, in a terminal
  wproxy metrics wproxy_http                          the counters, as Prometheus reads them
  wproxy upstream drain app 10.0.1.10:8000            what that server has under way ends, and nothing new comes
  wproxy explain http://localhost:8080/api/users      which location, which file, what the upstream receives
  wproxy why error.log                                why requests failed, how often, and what to do
  wproxy convert nginx.conf > wproxy.toml             the same configuration in TOML
  wproxy -t -c nginx.conf                             nginx's own options: wproxy -h
"""


class Command(NamedTuple):
    """One command: its name, its line in the help, and the function that declares its arguments. where: whether it takes -c and
    -p.
    """

    name: str
    help: str
    declare: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    where: bool = True


def _start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--foreground", action="store_true", help="stay in the foreground whatever `daemon` says")


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _proxy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("listen", help="port or address to listen on: 8080, 127.0.0.1:8080, unix:/path")
    parser.add_argument("upstream", nargs="+", help="where to send requests: 127.0.0.1:3000, unix:/path, several for a pool")
    parser.add_argument("--workers", default="auto", metavar="N", help="how many workers (default: one for each core)")
    parser.add_argument("--tls", action="store_true", help="serve HTTPS, with a certificate for this machine that is made once")
    parser.add_argument(
        "--tls-name",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name for the certificate: shop.localhost, box.test, an address of the local network; repeatable",
    )
    parser.add_argument("--show-config", action="store_true", help="print the wproxy.toml this stands for, and exit")


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", metavar="FILE", help="the configuration file (default: the one that is shipped)")
    parser.add_argument("--once", action="store_true", help="show it once and exit, instead of staying until Ctrl-C")


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", nargs="?", help="what a client would ask for: http://example.com:8080/path?args")
    parser.add_argument(
        "--last",
        nargs="?",
        const="",
        metavar="REQUEST_ID",
        help="what was decided about a request that has been served (explain_ring); without an id, the last ones",
    )
    parser.add_argument(
        "--sign", type=int, metavar="SECONDS", help="print a request field that asks for the decisions, good for so long"
    )
    parser.add_argument("-X", "--method", default="GET", help="the method (default: GET)")
    parser.add_argument("-H", "--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header field, repeatable")
    parser.add_argument("--client", default="127.0.0.1", metavar="ADDRESS", help="the client's address (default: 127.0.0.1)")
    parser.add_argument("--listen", default="", metavar="ADDRESS", help="the listener, when the URL does not tell it: unix:/path")
    parser.add_argument("--http2", action="store_true", help="ask in HTTP/2")
    parser.add_argument("--all", action="store_true", help="also show what did not match, and default settings")
    parser.add_argument("--json", action="store_true", help="for programs")


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="an nginx.conf or a .toml; the name decides what it is read as")
    parser.add_argument("--to", choices=("toml", "nginx"), help="what to write (default: the other of the two)")


def _top(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print it once, as in a script")
    parser.add_argument("--json", action="store_true", help="for programs: the state as it is")


def _metrics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="*", metavar="NAME", help="show what begins so: wproxy_http (default: all)")
    parser.add_argument("--openmetrics", action="store_true", help="as OpenMetrics, with exemplars")


def _why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "log", nargs="+", metavar="LOG", help="an error log of wproxy or nginx, as text or JSON; .gz; - for stdin"
    )
    parser.add_argument("--since", default="", metavar="TIME", help="leave out what is older: 10m, 14:03, 2026-05-13T14:03")
    parser.add_argument("--top", type=int, default=20, metavar="N", help="how many groups to show (default: 20)")
    parser.add_argument("--json", action="store_true", help="for programs")


class Action(NamedTuple):
    """One action of a command: its usage, what it does, and how many words it takes at least and at most."""

    usage: str
    help: str
    least: int
    most: int


# Keyed by name; `wproxy.upstream_command` does the work.
ACTIONS = {
    "list": Action("list [NAME]", "the servers and their state", 0, 1),
    "drain": Action("drain NAME SERVER", "let it finish; send it only requests of its sticky sessions", 2, 2),
    "down": Action("down NAME SERVER", "send it nothing more", 2, 2),
    "up": Action("up NAME SERVER", "send it requests again, after drain or down", 2, 2),
    "weight": Action("weight NAME SERVER N", "give it another weight", 3, 3),
    "add": Action("add NAME SERVER [KEY=VALUE ...]", "add a server, with the parameters of a `server` line", 2, 1000),
    "remove": Action("remove NAME SERVER", "let it finish, and forget it", 2, 2),
}


def _upstream(parser: argparse.ArgumentParser) -> None:
    _declare_actions(parser, ACTIONS, "NAME of the upstream, SERVER as it is written there, ...", "list")


# Keyed by name; `wproxy.cache_command` does the work.
CACHE_ACTIONS = {
    "stat": Action("stat [ZONE]", "the sizes of caches, and the responses by status", 0, 1),
    "list": Action("list ZONE [PREFIX]", "the stored responses, those whose key begins like this", 1, 2),
    "purge": Action("purge ZONE KEY", "delete a response; KEY*: all whose key begins like this", 2, 2),
}


def _cache(parser: argparse.ArgumentParser) -> None:
    _declare_actions(parser, CACHE_ACTIONS, "ZONE: the name in keys_zone, KEY: that of a response, ...", "stat, list")


def _declare_actions(parser: argparse.ArgumentParser, actions: dict[str, Action], words: str, shown: str) -> None:
    """Declare the arguments of a command with actions. shown: those that can print JSON."""
    parser.add_argument("action", metavar="ACTION", help=f"what to do: {', '.join(actions)}")
    parser.add_argument("words", nargs="*", default=(), metavar="ARGUMENT", help=words)
    parser.add_argument("--json", action="store_true", help=f"{shown}: for programs")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "actions:\n" + "".join(f"  {each.usage:32} {each.help}\n" for each in actions.values())


# Every command has a row here and a function of its name in the table of `wproxy.__main__`.
COMMANDS = (
    Command("start", "start master and workers", _start),
    Command("stop", "stop at once; requests in progress are cut"),
    Command("quit", "stop when all requests are finished"),
    Command("reload", "serve the changed configuration; wait until it does"),
    Command("reopen", "open log files anew, after a rotation"),
    Command("upgrade", "serve with the program as it is installed now; roll back if it does not serve"),
    Command("status", "show master, workers, connections and requests", _status),
    Command("top", "what the server is doing, live: requests, latency, causes, peers, workers", _top),
    Command("metrics", "the counters of the running server, as Prometheus reads them", _metrics),
    Command("upstream", "show the servers of upstreams, and change them while they serve", _upstream),
    Command("cache", "show what caches have stored, and purge it", _cache),
    Command("explain", "show what would be done with a request, or was done with a recent one, and why", _explain),
    Command("why", "group an error log by why requests failed, with what to do about it", _why, where=False),
    Command("check", "find what is wrong in a configuration, or hardly meant, with the reason and the fix", _check),
    Command("convert", "print an nginx.conf as wproxy.toml, or the other way round", _convert, where=False),
    Command("proxy", "a front door without a configuration file, in the foreground", _proxy, where=False),
    Command("demo", "three small applications behind wproxy, to look at and to break", _demo, where=False),
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of a command line that begins with a command."""
    top = argparse.ArgumentParser(
        prog="wproxy",
        description="An nginx-class reverse proxy in pure Python.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    top.add_argument("--help", action="help", help="show this help and exit")
    top.add_argument("--version", action="version", version=f"wproxy {VERSION} ({how_it_runs()})")
    top.add_argument("--as-nginx", action="store_true", help="as the first word, before nginx's options: be nginx")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("-c", "--config", metavar="FILE", help=f"the configuration file (default: {' or '.join(DEFAULT_FILES)})")
    where.add_argument(
        "-p", "--prefix", metavar="DIR", help="where relative paths start (default: the configuration file's directory)"
    )
    for command in COMMANDS:
        command.declare(commands.add_parser(command.name, parents=[where] if command.where else [], help=command.help))
    return top


def is_for_nginx(word: str) -> bool:
    """Whether a first word is one of nginx's options: those have one dash, ours have two."""
    return word.startswith("-") and not word.startswith("--")


def configuration_file(given: str | None) -> str:
    """Return the configuration file to use: the one given, else the first default that exists, else the first default."""
    if given is not None:
        return given
    return next((path for path in DEFAULT_FILES if os.path.exists(path)), DEFAULT_FILES[0])


def prefix_of(given: str | None, file: str) -> str:
    """Return the absolute directory that relative paths start from, with a trailing slash."""
    directory = given if given is not None else os.path.dirname(os.path.abspath(file))
    return os.path.join(os.path.abspath(directory), "")
