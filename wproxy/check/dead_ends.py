"""Rules about directives that are never reached, and about requests that go in circles (routing.md §1, §2, §3.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wproxy.check.blocks import Block, Blocks, variables_in
from wproxy.check.finding import WARNING, Found, Rule
from wproxy.check.regexes import matches_everything, sample, tree_of, why_never
from wproxy.check.routing import find_location
from wproxy.config.registry import LOCATION
from wproxy.config.tree import Node


def server_return(blocks: Blocks) -> Iterator[Found]:
    """Find a server that answers before it looks for a location."""
    for server in blocks.servers:
        hidden = [block for block in server.blocks if block.context == LOCATION and block.modifier != "@"]
        answer = next((node for node in server.node.children or () if _always_answers(node)), None)
        if answer is not None and hidden:
            names = ", ".join(f'"{block.pattern}"' for block in hidden[:3]) + (", ..." if len(hidden) > 3 else "")
            reason = (
                f'"{answer.name}" in the server answers every request before a location is looked for: '
                f"{names} ({hidden[0].node.position}) {'is' if len(hidden) == 1 else 'are'} never used"
            )
            yield Found(answer.position, reason, f'put it into a location: "location / {{ {_as_written(answer)} }}"')


def _always_answers(node: Node) -> bool:
    if node.name == "return":
        return True
    if node.name != "rewrite" or len(node.arguments) < 2 or not matches_everything(node.arguments[0]):
        return False
    target, leaves = node.arguments[1], node.arguments[2:] in (("redirect",), ("permanent",))
    return leaves or target.startswith(("http://", "https://", "$scheme"))


def _as_written(node: Node) -> str:
    return f"{' '.join((node.name, *node.arguments))};"


def never_matches(blocks: Blocks) -> Iterator[Found]:
    """Find patterns that no path can match."""
    for block in blocks.all:
        merges = block.value("merge_slashes", "on") != "off"
        if block.context == LOCATION and block.modifier != "@":
            why = why_never(block.pattern, block.modifier == "~*", merges) if block.is_regex else _why_no_path(block, merges)
            if why is not None:
                yield Found(block.node.position, f"{block.title} matches no request: {why}", _REMEDY)
        for node in block.own("rewrite"):
            why = why_never(node.arguments[0], False, merges) if node.arguments else None
            if why is not None:
                reason = f'the regex "{node.arguments[0]}" of this rewrite matches no request: {why}'
                yield Found(node.position, reason, _REMEDY)
        for node in block.own("if"):
            words = " ".join(node.arguments).strip("()").split()
            if len(words) == 3 and words[0] in ("$uri", "$document_uri") and words[1] in ("~", "~*"):
                why = why_never(words[2].strip("\"'"), words[1] == "~*", merges)
                if why is not None:
                    yield Found(node.position, f"this if is never true: {why}", _REMEDY)
        yield from _behind_everything(block)


_REMEDY = "match the decoded path: a slash first, no arguments ($arg_NAME has those)"


def _why_no_path(location: Block, merges_slashes: bool) -> str | None:
    """Return why no path begins with a literal pattern."""
    pattern = location.pattern
    if not pattern:
        return None
    if not pattern.startswith("/"):
        return "every path begins with a slash"
    if "?" in pattern:
        return 'it asks for a "?", but the arguments of a request are not compared'
    if re.search(r"%[0-9A-Fa-f]{2}", pattern):
        return "it asks for an escape (%..), but the path is decoded before it is compared"
    if merges_slashes and "//" in pattern:
        return "it asks for two slashes in a row, but they are merged before the path is compared"
    return None


def _behind_everything(block: Block) -> Iterator[Found]:
    """Find regex locations after one that matches every path."""
    regexes = [one for one in block.blocks if one.is_regex]
    greedy = next((one for one in regexes if matches_everything(one.pattern)), None)
    for one in regexes[regexes.index(greedy) + 1 :] if greedy is not None else ():
        if greedy is not None:
            reason = (
                f"{one.title} is never used: regexes are tried in order, and {greedy.title} ({greedy.node.position}) matches all"
            )
            yield Found(one.node.position, reason, f"put it above {greedy.node.position}")


def try_files_loop(blocks: Blocks) -> Iterator[Found]:
    """Find try_files whose last argument leads back to the same try_files."""
    for location in blocks.locations:
        server = location.server()
        for node in location.own("try_files"):
            way = _way_round(location, server, node) if server is not None and len(node.arguments) >= 2 else None
            if way is not None:
                reason = (
                    f"the last argument of try_files comes back to {location.title} and finds nothing there ({way}): a file "
                    "that is missing gets a 500 after 10 rounds"
                )
                yield Found(node.position, reason, 'end the list with "=404", or with a path that another location takes')


def _way_round(location: Block, server: Block, node: Node) -> str | None:
    """Return the way of a request for a missing file if it goes in a circle; None when it ends."""
    *tried, last = node.arguments
    goal = last.partition("?")[0]
    if last.startswith(("=", "@")) or not set(variables_in(goal)) <= {"uri", "document_uri"}:
        return None
    start = _path_in(location)
    if start is None or find_location(server, start) is not location:
        return None
    first = _filled(goal, start)
    second = _filled(goal, first)
    if any(find_location(server, path) is not location for path in (first, second)):
        return None
    # The file that the author names as the last resort exists: a look for it ends well.
    if not variables_in(goal) and any(_filled(one.partition("?")[0], first) == first for one in tried):
        return None
    return f"{start} to {first}" + (f" to {second}" if second != first else "")


def _path_in(location: Block) -> str | None:
    """Return a path that a location matches and that no file has."""
    if location.modifier == "=":
        return location.pattern
    if not location.is_regex:
        return f"{location.pattern}x" if location.pattern.endswith("/") else f"{location.pattern}/x"
    tree, regex = tree_of(location.pattern, location.modifier == "~*"), location.regex()
    path = sample(tree, {}).decode("latin-1") if tree is not None else ""
    path = path if path.startswith("/") else f"/{path}"
    return path if regex is not None and regex.search(path.encode()) is not None else None


def _filled(text: str, path: str) -> str:
    """Return an argument of try_files for a path, with slashes merged as in a request."""
    return re.sub("/+", "/", re.sub(r"\$\{?(?:document_)?uri\b\}?", lambda found: path, text))


_LOOP = "location / {{\n    try_files $uri{};\n}}"
_HIDDEN = "server {{\n    listen 80;\n    {}location /.well-known/acme-challenge/ {{\n        root /srv/acme;\n    }}\n{}}}"
_REDIRECT = "return 301 https://$host$request_uri;"

DEAD_END_RULES = [
    Rule(
        "server-return",
        WARNING,
        "a return in the server hides its locations",
        "`return`, and a `rewrite` that always redirects, belong to the rewrite phase of the server, which comes before a "
        "location is looked for. The files of an ACME challenge, for example, are redirected like all others. Named "
        "locations are still reached.",
        server_return,
        _HIDDEN.format(_REDIRECT + "\n    ", ""),
        _HIDDEN.format("", f"    location / {{\n        {_REDIRECT}\n    }}\n"),
        "http",
    ),
    Rule(
        "never-matches",
        WARNING,
        "a location, rewrite or if that no request matches",
        "The path is compared, decoded, with dots resolved and slashes merged; it begins with a slash and has no "
        "arguments. Regexes are tried in the order of the file, so one after another that matches everything is never tried.",
        never_matches,
        "location ~ \\.php\\?id=([0-9]+)$ {\n    return 403;\n}",
        "location ~ \\.php$ {\n    if ($arg_id ~ ^[0-9]+$) {\n        return 403;\n    }\n}",
    ),
    Rule(
        "try-files-loop",
        WARNING,
        "try_files whose last argument leads back to itself",
        "The last argument of try_files is not tried: the request continues there. When it leads to the same location and is "
        "not among the files tried there, it leads there again, until nginx and wproxy give up after 10 rounds with 500.",
        try_files_loop,
        _LOOP.format(" $uri/"),
        _LOOP.format(" $uri/ =404"),
    ),
]
