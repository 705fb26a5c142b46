"""The arguments of `wproxy check`, in a module of their own because every command declares the arguments of all commands."""

from __future__ import annotations

import argparse


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command, in addition to `-c` and `-p`."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="the configuration file, in either syntax (the same as -c)")
    parser.add_argument(
        "--format", choices=("text", "json", "github"), default="text", help="the format of findings (default: text)"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 2 also for infos, not only for warnings and errors")
    parser.add_argument("--disable", action="append", default=[], metavar="RULE", help="leave out rules, separated by commas")
    parser.add_argument(
        "--offline",
        action="store_true",
        help="only read the files: look up no names, read no certificate, try no port, log or pid file",
    )
    parser.add_argument("--list", action="store_true", help="list all rules and exit")
