"""`expires @TIME`, asked of this worker and of the real nginx: the same moment, however the clock goes on between the two."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from like_nginx import Site, _load_nginx_syntax, ask, ask_nginx, ask_worker, needs_nginx

pytestmark = needs_nginx

CONFIGURATION = """
    server {
        listen 127.0.0.1:PORT;
        location /fixed { expires @15h30m; return 200 "x"; }
        location /variable { expires $arg_e; return 200 "x"; }
    }
"""
TIMES = ("@0", "@1h", "@12h30m15s", "@1h30", "@23h59m59s", "@24h", "@1d")
REFUSED = ("@", "@25h", "@-1h", "@24h1s", "@x")


def test_a_time_of_day_is_the_moment_that_nginx_means(tmp_path: Path, stage, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [ask("/fixed"), *(ask(f"/variable?e={text}") for text in (*TIMES, *REFUSED))]
    _load_nginx_syntax(monkeypatch, tmp_path)
    site = Site(tmp_path)
    try:
        theirs = ask_nginx(site, CONFIGURATION, cases, "warn")
        ours = ask_worker(site, stage, CONFIGURATION, cases, "warn")
    finally:
        site.close()
    for case, (their, _), (our, _) in zip(cases, theirs, ours, strict=True):
        ages = [[int(age) for age in re.findall(r"max-age=(\d+)", answer)] for answer in (their, our)]
        assert len(ages[0]) == len(ages[1]), case
        assert len(ages[0]) == (not any(case.startswith(b"GET /variable?e=%s " % text.encode()) for text in REFUSED)), case
        for age_of_theirs, age_of_ours in zip(*ages, strict=True):
            # A midnight between the two would be a day; seconds are how long the one was asked after the other.
            assert (age_of_theirs - age_of_ours) % 86400 < 60, case
