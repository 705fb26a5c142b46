"""A real Prometheus scrapes metrics, promtool and Prometheus' library read them, and what contrib/ has works on them."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from applications.fronts import Front
from applications.programs import PYTHON, ROOT, Program, needed, until

from bench.ports import free_port

HERE = Path(__file__).parent
CONTRIB = ROOT / "contrib"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PARSE = """
import json, sys
from prometheus_client.parser import text_string_to_metric_families as plain
from prometheus_client.openmetrics.parser import text_string_to_metric_families as opened
families = (opened if sys.argv[1] == "opened" else plain)(sys.stdin.read())
found = {sample.name + json.dumps(sample.labels, sort_keys=True): sample.value for family in families for sample in family.samples}
json.dump(found, sys.stdout)
"""


def get(url: str, accept: str = "", host: str = "") -> str:
    request = urllib.request.Request(url, headers={"Accept": accept or "*/*", **({"Host": host} if host else {})})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def front(directory: Path) -> Any:
    made = Front("wproxy", directory / "front", (HERE / "nginx.conf").read_text(), {"APP": free_port(), "DEAD": free_port()})
    for number in range(20):
        get(f"{made.url}/{number}?{number}", host=f"h{number}.test")
        get(f"{made.url}/app/{number}")
    with suppress(OSError):
        get(f"{made.url}/closed")
    yield made
    made.end()


@pytest.fixture(scope="module")
def prometheus(front: Front, directory: Path, run: Callable[[Program], Program]) -> Callable[[str], Any]:
    """Asks a Prometheus that scrapes the front each second."""
    port = free_port()
    text = (CONTRIB / "prometheus" / "prometheus.yml").read_text().replace("127.0.0.1:9145", f"127.0.0.1:{front.port}")
    text = text.replace("scrape_interval: 15s", "scrape_interval: 1s")
    file = directory / "prometheus.yml"
    file.write_text(text)
    (directory / "alerts.yml").write_text((CONTRIB / "prometheus" / "alerts.yml").read_text())
    words = [f"--config.file={file}", f"--storage.tsdb.path={directory / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"]
    run(Program("prometheus", [needed("prometheus"), *words], directory, port))

    def is_ready() -> bool:
        try:
            return "Ready" in get(f"http://127.0.0.1:{port}/-/ready")
        except OSError:
            return False

    until(is_ready, "Prometheus", 90)

    def ask(path: str) -> Any:
        return json.loads(get(f"http://127.0.0.1:{port}/api/v1/{path}"))["data"]

    return ask


def test_promtool_accepts_the_page(front):
    for path in ("/named", "/metrics"):
        page = get(f"{front.url}{path}")
        if path == "/metrics":  # names that others chose and that dashboards know
            page = re.sub(r"(?m)^.*nginx_connections_(accepted|handled).*\n", "", page)
        found = subprocess.run([needed("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, timeout=60)
        assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("path", ["/metrics", "/locations", "/named"])
def test_prometheus_library_reads_the_same_series_in_both_formats(front, path):
    python = needed(PYTHON / "python")

    def parsed(kind: str, accept: str) -> dict[str, float]:
        page = get(f"{front.url}{path}", accept)
        done = subprocess.run([python, "-c", PARSE, kind], input=page, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def series(kind: str, accept: str) -> set[str]:
        # The library adds it to every counter of the plain format; these have names of their own.
        return {re.sub(r"^(nginx(?:plus)?_\w+?)_total", r"\1", name) for name in parsed(kind, accept)}

    parsed("plain", "text/plain")  # the page itself has a series from now on
    # What another worker has counted first may appear between the two.
    until(lambda: series("plain", "text/plain") == series("opened", OPENMETRICS), "the same series in both")
    assert len(parsed("plain", "text/plain")) > 40


def test_the_exporter_reads_the_api_and_its_series_are_those_of_compat_plus(front, directory, run):
    port = free_port()
    words = ["-nginx.plus", f"-nginx.scrape-uri={front.url}/api", f"-web.listen-address=127.0.0.1:{port}"]
    run(Program("exporter", [needed("prometheus-nginx-exporter"), *words], directory, port))

    def series(page: str) -> dict[str, float]:
        """By the name and the sorted labels; those of the exporter itself and of Go are left out."""
        found = re.findall(r"(?m)^(nginxplus_\w+)(?:\{(.*)\})? (\S+)$", page)
        label = re.compile(r'\w+="[^"]*"')
        return {f"{name} {','.join(sorted(label.findall(labels)))}".strip(): float(value) for name, labels, value in found}

    theirs, ours = series(get(f"http://127.0.0.1:{port}/metrics")), series(get(f"{front.url}/locations"))
    assert theirs["nginxplus_up"] == 1
    names = {name.partition(" ")[0] for name in theirs}
    # Debian's is of 2022: it does not know workers, and has other names for health checks and idle connections.
    assert {name for name in ours if name.partition(" ")[0] in names} <= set(theirs)
    assert len(names & {name.partition(" ")[0] for name in ours}) > 35
    same = [
        name for name in ours if name in theirs and name.startswith(("nginxplus_upstream_server_re", "nginxplus_location_zone"))
    ]
    assert len(same) > 10
    assert [ours[name] for name in same] == [theirs[name] for name in same]


def test_prometheus_scrapes_it(front, prometheus):
    def value(query: str) -> float:
        found = prometheus(f"query?query={urllib.parse.quote(query)}")["result"]
        return float(found[0]["value"][1]) if found else -1.0

    until(lambda: value('up{job="wproxy"}') == 1, "the first scrape", 90)
    until(lambda: value('sum(wproxy_http_requests_total{server="front",code="200"})') >= 40, "the requests")
    assert value("count(count by (server) (wproxy_http_requests_total))") == 2, "no host of a client is a label"
    assert value("sum(wproxy_upstream_failures_total)") >= 1
    assert value("histogram_quantile(0.95, sum by (le) (rate(wproxy_http_request_duration_seconds_bucket[1m])))") >= -1
    rules = [rule["name"] for group in prometheus("rules")["groups"] for rule in group["rules"]]
    assert "WproxyPeerDown" in rules
    metadata = prometheus("metadata?metric=wproxy_http_requests")  # so OpenMetrics, which Prometheus asks for, names the family
    assert metadata["wproxy_http_requests"][0]["type"] == "counter"


def test_alerts_and_the_dashboard_name_only_series_that_there_are(front):
    page = get(f"{front.url}/locations") + get(f"{front.url}/metrics")
    there = set(re.findall(r"(?m)^# TYPE (\w+) ", page))
    there |= {f"{name}_{part}" for name in there for part in ("bucket", "sum", "count")}
    rare = {"wproxy_cache_responses_total", "wproxy_tls_handshakes_total", "wproxy_tls_certificate_expiry_timestamp_seconds"}
    rare |= {"wproxy_limit_conn_total", "wproxy_upstream_queue_rejected_total", "wproxy_upstream_retries_denied_total"}
    for file in (CONTRIB / "prometheus" / "alerts.yml", CONTRIB / "grafana" / "wproxy.json"):
        named = set(re.findall(r"\bwproxy_\w+", file.read_text()))
        assert named and named <= there | rare, named - there - rare
    dashboard = json.loads((CONTRIB / "grafana" / "wproxy.json").read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_alerts(front):
    for words in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")):
        done = subprocess.run(
            [needed("promtool"), *words], cwd=CONTRIB / "prometheus", capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
