"""The lines of the error log that fail2ban's filters for nginx look for: limit-req, http-auth and botsearch.

The filters cut the time off, and find the address to ban in what is left. If fail2ban is installed, its own filters decide.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conversation import Stage, get

ADDRESS = "192.0.2.7"
REQUEST = r'request: "(?:GET|POST|HEAD) /\S* HTTP/\d\.\d"'
WANTED = {
    "nginx-limit-req": rf'^ \[error\] \d+#\d+: \*\d+ limiting requests, excess: [\d.]+ by zone "[^"]+", client: {ADDRESS},',
    "nginx-http-auth": r'^ \[error\] \d+#\d+: \*\d+ user "[^"]+"(?:: password mismatch| was not found in "[^"]*"), '
    rf'client: {ADDRESS}, server: \S*, {REQUEST}, host: "\S+"(?:, referrer: "\S+")?\s*$',
    "nginx-botsearch": r'^ \[error\] \d+#\d+: \*\d+ (?:\S+ )?"\S+" (?:failed|is not found) \(2: No such file or directory\), '
    rf"client: {ADDRESS}, server: \S*, {REQUEST}, ",
}
TRUSTED = b"X-Real-IP: " + ADDRESS.encode()


@pytest.fixture
def log(stage: Callable[..., Stage], tmp_path: Path) -> list[str]:
    """The lines about clients that come too often, guess passwords and look for holes, all behind a trusted proxy."""
    (tmp_path / "users").write_text("staff:{PLAIN}secret\n")
    zone = f"banned{tmp_path.name[-1]}"  # counts last as long as the process
    s = stage(
        http=f'limit_req_zone = [["$binary_remote_addr", "zone={zone}:32k", "rate=1r/m"]]\nset_real_ip_from = "127.0.0.1"',
        locations=f"""
        [http.server.location."/often"]
        return = [204]
        [http.server.location."/limited"]
        root = "{tmp_path}"
        limit_req = [["zone={zone}"]]
        [http.server.location."/closed"]
        alias = "{tmp_path}"
        auth_basic = "closed"
        auth_basic_user_file = "{tmp_path}/users"
        [http.server.location."/wp-login.php"]
        root = "{tmp_path}"
        """,
    )

    def ask(path: bytes, *fields: bytes) -> None:
        client = s.client().send(get(path, TRUSTED, b"Connection: close", *fields))
        assert client.is_closed()

    def basic(user: str) -> bytes:
        return b"Authorization: Basic " + base64.b64encode(f"{user}:wrong".encode())

    for _ in range(2):
        ask(b"/limited")
    ask(b"/closed/", basic("staff"))
    ask(b"/closed/", basic("admin"), b"Referer: http://evil.example/")
    ask(b"/wp-login.php")
    return s.error_log()


def without_time(line: str) -> str:
    return re.sub(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d", "", line)


@pytest.mark.parametrize(("name", "count"), [("nginx-limit-req", 1), ("nginx-http-auth", 2), ("nginx-botsearch", 2)])
def test_a_filter_finds_what_it_looks_for(log: list[str], tmp_path: Path, name: str, count: int):
    found = [line for line in log if re.search(WANTED[name], without_time(line))]
    assert len(found) == count, "\n".join(log)
    program = shutil.which("fail2ban-regex")
    if program is not None:
        (tmp_path / "log").write_text("\n".join(log) + "\n")
        done = subprocess.run([program, str(tmp_path / "log"), name], capture_output=True, text=True, check=False)
        assert int(re.search(r"Failregex: (\d+) total", done.stdout)[1]) >= 1, done.stdout  # type: ignore[index]
