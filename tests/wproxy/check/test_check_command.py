"""`wproxy check`: what `-t` says among the findings, silence by comments, formats, exit codes, the generated page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from wproxy.address import Address
from wproxy.check import describe
from wproxy.check.arguments import declare
from wproxy.check.command import listing, run_check
from wproxy.check.describe import page
from wproxy.check.finding import BUILT_IN, Finding
from wproxy.check.report import as_github, as_text
from wproxy.check.table import RULES
from wproxy.config import model  # noqa: F401  its import fills the registry
from wproxy.config.tree import Position, Problem

HOUSE = Path(__file__).parents[3]

SLASHES = "location /api {\n    proxy_pass http://127.0.0.1:3000/;\n}"
FIELDS = (
    "proxy_set_header Host $host;\nproxy_set_header X-Forwarded-For $remote_addr;\nproxy_set_header X-Forwarded-Proto $scheme;\n"
)


def not_found(host: str, port: int) -> list[Address]:
    raise OSError("not found")


@pytest.fixture
def run(tmp_path, capfdbinary):
    """Check a text, as `wproxy check FILE OPTIONS` does; gives the exit code and what was printed."""

    def run_text(text: str, *options: str, name: str = "nginx.conf", obstacles=None) -> tuple[int, str]:
        file = tmp_path / name
        if text:
            file.write_text(text)
        parser = argparse.ArgumentParser()
        declare(parser)
        given = parser.parse_args([str(file), *options])
        code = run_check(given, str(file), f"{tmp_path}/", not_found, obstacles)
        printed = capfdbinary.readouterr()
        return code, (printed.out + printed.err).decode().replace(f"{tmp_path}/", "")

    return run_text


def whole(inside: str, before: str = "") -> str:
    return f"{before}events {{}}\nhttp {{\nserver {{\nlisten 80;\n{FIELDS}{inside}\n}}\n}}\n"


# What is told


def test_a_clean_file(run):
    assert run(whole("location / { proxy_pass http://127.0.0.1:3000; }")) == (0, "nginx.conf: no findings\n")


def test_a_finding_is_two_lines(run):
    code, text = run(whole(SLASHES))
    first, second, last = text.splitlines()
    assert code == 2
    assert first.startswith('nginx.conf:9 warning [proxy-pass-slash-mismatch] location "/api" has no trailing slash')
    assert second.startswith('    fix: write "location /api/"')
    assert last == "nginx.conf: 1 warning"


def test_toml_has_columns(run):
    text = (
        '[[http.server]]\nlisten = 8080\n[http.server.location."/api"]\n  proxy_pass = "http://127.0.0.1:3000/"\n'
        '  proxy_set_header = { Host = "$host", X-Forwarded-For = "$remote_addr", X-Forwarded-Proto = "$scheme" }\n'
    )
    code, told = run(text, name="wproxy.toml")
    assert code == 2
    assert told.startswith("wproxy.toml:4:3 warning [proxy-pass-slash-mismatch]")


def test_what_cannot_be_read_is_told_alone(run):
    code, text = run("http {\n server {\n listen 80;\n")
    assert code == 1
    assert "error [configuration] unexpected end of file" in text


def test_a_file_that_is_not_there(run):
    code, text = run("", name="none.conf")
    assert code == 1
    assert 'none.conf error [configuration] open() "none.conf" failed (2: No such file or directory)' in text


def test_rules_run_on_what_does_not_resolve(run):
    code, text = run(whole("location /a { proxy_pass http://nowhere.example.com/; }\nlisen 80;"))
    assert code == 1
    assert 'nginx.conf:8 error [configuration] host not found in upstream "nowhere.example.com"\n' in text
    assert 'nginx.conf:9 error [configuration] unknown directive "lisen", did you mean "listen"?\n' in text
    assert "nginx.conf:8 warning [proxy-pass-slash-mismatch]" in text


def test_offline_looks_no_name_up_and_tries_nothing(run):
    text = whole("location / { proxy_pass http://nowhere.example.com; }")
    told = [Problem("the port is taken")]
    code, online = run(text, obstacles=lambda configuration: told)
    assert code == 1 and "host not found" in online
    code, offline = run(text, "--offline", obstacles=lambda configuration: told)
    assert code == 0 and "not found" not in offline and "taken" not in offline


def test_obstacles_to_a_start_are_errors(run):
    text = whole("location / { proxy_pass http://127.0.0.1:3000; }")
    code, told = run(text, obstacles=lambda configuration: [Problem("the port is taken")])
    assert code == 1
    assert told.startswith("nginx.conf error [configuration] the port is taken\n")


def test_what_a_start_would_refuse(run):
    code, text = run(whole("location / { perl handler; }"))
    assert code == 2
    assert 'nginx.conf:8 error [start-refused] "perl" directive is not yet effective' in text


def test_findings_come_in_the_order_of_the_files(run, tmp_path):
    (tmp_path / "a.conf").write_text("location /b { proxy_pass http://127.0.0.1:3000/; }\nlocation /c { alias /c/; }\n")
    code, text = run(whole("include a.conf;\nlocation /z { alias /z/; }", "error_log off;\n"))
    assert code == 2
    places = [line.split()[0] for line in text.splitlines()[:-1] if line[0] != " "]
    assert places == ["nginx.conf:1", "nginx.conf:10", "a.conf:1", "a.conf:2"]


# Silence


@pytest.mark.parametrize(
    "text",
    [
        SLASHES.replace(";", ";  # wproxy: ignore proxy-pass-slash-mismatch"),
        SLASHES.replace("    proxy", "    # wproxy: ignore proxy-pass-slash-mismatch\n    proxy"),
        SLASHES.replace("    proxy", "    # wproxy: ignore missing-host, proxy-pass-slash-mismatch\n    # because\n    proxy"),
        SLASHES.replace("    proxy_pass ", "    # wproxy: ignore proxy-pass-slash-mismatch\n    proxy_pass\n        "),
        f"# wproxy: ignore-file proxy-pass-slash-mismatch\n{SLASHES}",
        f"{SLASHES}\n#wproxy:ignore-file proxy-pass-slash-mismatch",
    ],
    ids=["on the line", "above", "among others", "two lines", "for the file", "at the end"],
)
def test_a_comment_silences_a_rule(run, text):
    assert run(whole(text)) == (0, "nginx.conf: no findings\n")


@pytest.mark.parametrize(
    "text",
    [
        SLASHES.replace(";", ";  # wproxy: ignore missing-host"),
        f"# wproxy: ignore proxy-pass-slash-mismatch\n{SLASHES}",
        SLASHES.replace("    proxy", "    return 204;  # wproxy: ignore proxy-pass-slash-mismatch\n    proxy"),
        f"{SLASHES}\n# wproxy: ignore proxy-pass-slash-mismatch",
    ],
    ids=["another rule", "another directive", "the line above", "below"],
)
def test_a_comment_elsewhere_does_not(run, text):
    code, told = run(whole(text))
    assert code == 2 and "[proxy-pass-slash-mismatch]" in told


def test_a_comment_in_toml(run):
    text = '[[http.server]]\n[http.server.location."/a"]\n# wproxy: ignore alias-traversal\nalias = "/a/"\n'
    assert run(text, name="wproxy.toml") == (0, "wproxy.toml: no findings\n")
    assert run(text.replace("ignore", "ignore-file"), name="wproxy.toml")[0] == 0
    assert run(text.replace("traversal", "x"), name="wproxy.toml")[0] == 2


def test_a_file_is_silent_for_itself_alone(run, tmp_path):
    (tmp_path / "a.conf").write_text("# wproxy: ignore-file alias-traversal\nlocation /c { alias /c/; }\n")
    code, text = run(whole("include a.conf;\nlocation /z { alias /z/; }"))
    assert code == 2
    assert text.count("[alias-traversal]") == 1 and "a.conf" not in text


def test_errors_are_never_silent(run):
    code, text = run("# wproxy: ignore-file configuration\n" + whole("lisen 80;"))
    assert code == 1 and "[configuration]" in text
    assert 'nginx.conf:1 info [unknown-rule] a comment silences "configuration"' in text


def test_a_comment_with_a_mistake_is_told(run):
    code, text = run(whole("location / { return 204; }  # wproxy: ignore alias-traversel"))
    assert code == 0
    assert 'nginx.conf:8 info [unknown-rule] a comment silences "alias-traversel", but there is no such rule' in text


# Options


def test_infos_are_found_when_strict(run):
    text = whole("location /a/ { proxy_pass http://127.0.0.1:3000/; }")
    assert run(text)[0] == 0
    assert run(text, "--strict")[0] == 2
    assert run(text, "--strict", "--disable", "proxy-pass-strips-prefix") == (0, "nginx.conf: no findings\n")


def test_rules_are_disabled_by_name(run):
    assert run(whole(SLASHES), "--disable", "alias-traversal,proxy-pass-slash-mismatch")[0] == 0
    assert run(whole(SLASHES), "--disable", "alias-traversal", "--disable", "proxy-pass-slash-mismatch")[0] == 0


@pytest.mark.parametrize("name", ["no-such-rule", "configuration"])
def test_a_name_that_cannot_be_disabled(run, name):
    assert run(whole(SLASHES), "--disable", name) == (
        1,
        f"wproxy: unknown rule {name} in --disable: see wproxy check --list\n",
    )


def test_the_list_names_all_rules(run):
    code, text = run("", "--list")
    assert code == 0 and text == listing()
    assert [line.split()[0] for line in text.splitlines()] == [*RULES, *BUILT_IN]


# Infos that say the same


def twice(inside: str = "") -> str:
    """Two locations without the usual fields. inside: what else is in the second one."""
    return (
        "events {}\nhttp {\nserver {\nlisten 80;\nlocation /a {\nproxy_pass http://127.0.0.1:1;\n}\n"
        f"location /b {{\n{inside}\nproxy_pass http://127.0.0.1:2;\n}}\n}}\n}}\n"
    )


def test_infos_that_say_the_same_are_one(run):
    code, text = run(twice())
    assert code == 0
    told = [line for line in text.splitlines() if "info [" in line]
    assert [line.split()[2] for line in told] == ["[missing-host]", "[missing-forwarded-headers]"]
    assert all(line.startswith("nginx.conf:6 ") and line.endswith(" (also: 10)") for line in told)
    assert text.endswith("nginx.conf: 2 infos\n")


def test_a_place_that_is_silenced_is_none_of_them(run):
    text = run(twice("# wproxy: ignore missing-host"))[1]
    (line,) = [line for line in text.splitlines() if "[missing-host]" in line]
    assert "also" not in line
    assert line.startswith("nginx.conf:6 ")


def test_warnings_are_told_where_they_stand(run):
    text = run(whole("location /a { alias /a/; }\nlocation /b { alias /b/; }"))[1]
    assert text.count("[alias-traversal]") == 2
    upstream = "events {}\nhttp {\nupstream app { server 127.0.0.1:1; }\nserver {\nlisten 80;\n"
    text = f"{upstream}location /a {{\nproxy_pass http://app;\n}}\nlocation /b {{\nproxy_pass http://app;\n}}\n}}\n}}\n"
    assert run(text)[1].count("[upstream-name-as-host]") == 2


def test_other_places_in_other_files_are_named_in_full(run, tmp_path):
    (tmp_path / "b.conf").write_text("location /c { proxy_pass http://127.0.0.1:3; }\n")
    text = run(twice().replace("listen 80;", "listen 80; include b.conf;"))[1]
    assert "(also: 10, b.conf:1)" in text
    text = run(twice(), "--format", "json")[1]
    assert [finding["also"] for finding in json.loads(text)["findings"]] == [
        [{"file": "nginx.conf", "line": 10, "column": None}]
    ] * 2
    assert run(twice(), "--format", "github")[1].count(" (also: 10)%0Afix: ") == 2


# Formats


def test_json(run):
    code, text = run(whole(SLASHES), "--format", "json")
    told = json.loads(text)
    assert code == told["exit_code"] == 2
    assert told["file"] == "nginx.conf"
    assert told["counts"] == {"error": 0, "warning": 1, "info": 0}
    (finding,) = told["findings"]
    assert finding.pop("reason").startswith('location "/api"') and finding.pop("fix")
    assert finding == {
        "rule": "proxy-pass-slash-mismatch",
        "severity": "warning",
        "file": "nginx.conf",
        "line": 9,
        "column": None,
        "also": [],
    }


def test_json_of_what_cannot_be_used(run):
    code, text = run("", "--format", "json", name="none.conf")
    told = json.loads(text)
    assert code == told["exit_code"] == 1
    assert (told["findings"][0]["file"], told["findings"][0]["line"]) == ("none.conf", None)


def test_github(run):
    code, text = run(whole(SLASHES), "--format", "github")
    assert code == 2
    (line,) = text.splitlines()
    assert line.startswith("::warning file=nginx.conf,line=9,title=proxy-pass-slash-mismatch::location")
    assert '%0Afix: write "location /api/"' in line


def test_github_escapes_what_would_end_a_command():
    finding = Finding("a", "info", Position("a,b:c.toml", 3, 4), "100% a\nb", "")
    assert as_github("x", [finding], 0) == "::notice file=a%2Cb%3Ac.toml,line=3,col=4,title=a::100%25 a%0Ab\n"


def test_counts():
    findings = [Finding("a", word, None, "r", "") for word in ("error", "info", "info", "warning")]
    assert as_text("f", findings, 2).splitlines()[-1] == "f: 1 error, 1 warning, 2 infos"


# The page


def test_the_page_under_docs_is_the_one_that_would_be_written():
    assert (HOUSE / "docs" / "check.md").read_text("utf-8") == page(), "run python -m wproxy.check.describe"


def test_writing_the_page_says_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(describe, "PAGE", str(tmp_path / "check.md"))
    assert describe.main() == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "check.md")
    assert (tmp_path / "check.md").read_text("utf-8") == page()


def test_the_page_has_every_rule_with_its_examples():
    for rule in RULES.values():
        assert f"### {rule.id}\n\n{rule.severity}: {rule.summary}.\n" in page()
        assert f"```nginx\n{rule.bad}\n```" in page() and f"```nginx\n{rule.good}\n```" in page()


# The examples: what is warned of there is warned of with a reason, which somebody has looked at.

REASONS = {
    "add-header-lost",
    "capture-traversal",
    "keepalive-websocket-map",
    "proxy-pass-decoded-capture",
    "proxy-set-header-lost",
    "upstream-name-as-host",
    "weak-tls",
}


def examples() -> list[Path]:
    found = sorted((HOUSE / "tests" / "examples").glob("*/nginx.conf"))
    return [*found, HOUSE / "wproxy.toml"]


@pytest.mark.parametrize("file", examples(), ids=lambda file: file.parent.name)
def test_no_false_alarm_for_what_is_found_in_the_wild(file):
    from wproxy.check.runner import lint
    from wproxy.config.load import load_document

    warned = {finding.rule for finding in lint(load_document(str(file))) if finding.severity != "info"}
    assert warned <= REASONS
