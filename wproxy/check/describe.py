"""docs/check.md, made from the table of rules.

    python -m wproxy.check.describe

rewrites it.
"""

from __future__ import annotations

import os
import sys
import textwrap

from wproxy.check.finding import BUILT_IN, Rule
from wproxy.check.table import THEMES
from wproxy.generated_pages import DOCS, write_pages

PAGE = os.path.join(DOCS, "check.md")

_PREAMBLE = """\
# wproxy check

Written by `python -m wproxy.check.describe` from the tables in `wproxy/check/`: change those, not this page.

    wproxy check [FILE] [--format text|json|github] [--strict] [--disable RULE] [--offline] [--list]

reports everything that `wproxy -t` says about a configuration, in nginx's syntax or in TOML, and settings that are allowed but
hardly meant: where they are, why they are trouble, and how to fix them.

    nginx.conf:12 error [alias-traversal] location "/img" has no trailing slash and alias has one: ...
        fix: write "location /img/"

An info that applies to several places is reported once, at the first of them, with the lines of the others: `(also: 42,
57)`, and `also` in JSON. Values are followed through `set` and `map`: a finding then names the lines.

The exit code is 0 when there is nothing worse than an info, 1 when the configuration has errors and cannot be used, 2 when there
are warnings or worse (with `--strict`: anything). Rules also run on a configuration with errors, as far as its files can be read.
`--offline` only reads the files, for machines that will not serve the configuration: no name is looked up, no certificate
read, and no port, log or pid file tried.
`--format github` writes workflow commands that GitHub shows in a pull request, `--format json` one object with all findings.

A comment silences rules, in either syntax, for its own line or for the directive below it, or for a whole file:

    location /api/ {
        # wproxy: ignore proxy-pass-strips-prefix, missing-host
        proxy_pass http://127.0.0.1:3000/;
    }

    # wproxy: ignore-file forwarded-for-appended

A location is reported at the line of its `{`, a directive of nginx's syntax at the line of its `;`.
"""


def page() -> str:
    """Return the text of docs/check.md."""
    parts = [_PREAMBLE]
    for theme, rules in THEMES.items():
        parts.append(f"## {theme}\n")
        parts.extend(map(_entry, rules))
    parts.append("## Findings without a rule\n")
    parts.extend(f"### {name}\n\n{severity}: {summary}.\n" for name, (severity, summary) in BUILT_IN.items())
    return "\n".join(parts)


def _entry(rule: Rule) -> str:
    why = textwrap.fill(rule.why, 120, break_long_words=False, break_on_hyphens=False)
    examples = "".join(f"\n{title}:\n\n```nginx\n{text}\n```\n" for title, text in (("Bad", rule.bad), ("Good", rule.good)))
    return f"### {rule.id}\n\n{rule.severity}: {rule.summary}.\n\n{why}\n{examples}"


def main() -> int:
    """Write what is generated here; return the exit code."""
    return write_pages({PAGE: page()})


if __name__ == "__main__":
    sys.exit(main())
