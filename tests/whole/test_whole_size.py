"""A start on 1,000 servers of 10 locations: it listens in seconds, with all its workers, and the last server answers."""

import pytest
from harness import cpu_of_family
from sites import Site
from wire import ask

from bench.ports import free_port

pytestmark = pytest.mark.whole


def test_a_thousand_servers_are_started_in_seconds(tmp_path):
    port = free_port()
    inside = "".join(f'location /part{number}/ {{ return 200 "part {number} of $server_name"; }} ' for number in range(10))
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port}; server_name s{number}.example.com; {inside}}}\n" for number in range(1000)
    )
    file = tmp_path / "nginx.conf"
    file.write_text(
        f"worker_processes 2;\npid nginx.pid;\nerror_log error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{servers}}}\n"
    )
    site = Site(file, port)
    try:
        assert ask(port, "/part7/x", host="s999.example.com").body == b"part 7 of s999.example.com"
        assert cpu_of_family(site.program.pid) < 15  # 1.5 s elapse when the machine is not busy
    finally:
        site.end()
