"""The arguments of `wproxy check`. Apart, because every command declares those of all, and has no need of the rest."""

from __future__ import annotations

import argparse


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command, beside `-c` and `-p`."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="the configuration file, in either syntax (the same as -c)")
    parser.add_argument(
        "--format", choices=("text", "json", "github"), default="text", help="how findings are told (default: text)"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 2 for infos too, not only for warnings and errors")
    parser.add_argument("--disable", action="append", default=[], metavar="RULE", help="leave rules out; several with commas")
    parser.add_argument(
        "--offline", action="store_true", help="only read the files: look no name up, try no port, log or pid file"
    )
    parser.add_argument("--list", action="store_true", help="name all rules and exit")
