"""Rules about locations: which one wins, their contents, and the files they open (routing.md §1.4, §3)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wproxy.check.blocks import Block, Blocks, is_refusal, variables_in
from wproxy.check.finding import ERROR, INFO, WARNING, Found, Rule
from wproxy.check.regexes import expanded, matched_with
from wproxy.config.registry import LOCATION, LOCATION_IF, SERVER
from wproxy.config.tree import Node
from wproxy.regex import Regex, RegexTimedOut

PASSES = ("proxy_pass", "grpc_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass")
STEPS = ("rewrite", "return", "set", "break", "rewrite_log", "uninitialized_variable_warn", "if")


def alias_traversal(blocks: Blocks) -> Iterator[Found]:
    """Find a prefix without and an alias with a trailing slash: `/img../secret` opens `/data/img/../secret`."""
    for location in blocks.locations:
        path = _alias(location)
        if location.is_prefix and path.endswith("/") and not location.pattern.endswith("/"):
            prefix = location.pattern
            reason = f"{location.title} has no trailing slash and alias has one: {prefix}../x opens {path}../x, which is outside"
            yield Found(location.own("alias")[-1].position, reason, f'write "location {prefix}/"')


def capture_traversal(blocks: Blocks) -> Iterator[Found]:
    """Find a capture that may begin with dots, after a slash: `/static../secret` is `../secret` after `/static`."""
    for location in blocks.locations:
        if not location.is_regex:
            continue
        for node, text in _paths_of_files(location):
            found = next((one for name in variables_in(text) if (one := _leads_out(location, name, text))), None)
            if found is not None:
                name, path, file, severity = found
                reason = (
                    f"${name} in {node.name} may begin with dots: {path} opens {file}, which is outside (nginx sends it; wproxy "
                    "answers 404)"
                )
                fix = (
                    r'make the regex ask for the slash before the capture, as in "^/static/(.*)$", or for no dot: "([^/.][^/]*)"'
                )
                yield Found(node.position, reason, fix, severity)


# What a capture may be made to match, by severity: dots and a slash lead anywhere, dots alone one level up.
_LEADING_OUT = {b"../x": None, b"../x.css": None, b"../x.png": None, b"../x.html": None, b"..": WARNING}


def _leads_out(location: Block, name: str, text: str) -> tuple[str, str, str, str | None] | None:
    """Return (variable, path, file, severity) of a request that a capture leads out of a directory, or None."""
    for dots, severity in _LEADING_OUT.items():
        found = matched_with(location, name, dots)
        file = expanded(text, found) if found is not None else b""
        if found is not None and b".." in file.split(b"/"):
            return name, found.string.decode("utf-8", "replace"), file.decode("utf-8", "replace"), severity
    return None


def _paths_of_files(location: Block) -> Iterator[tuple[Node, str]]:
    """Yield the names of files that a location makes: from alias, from root, and from try_files."""
    for node in location.own("alias", "root"):
        yield from ((node, argument) for argument in node.arguments[:1])
    for node in location.own("try_files"):
        yield from ((node, argument) for argument in node.arguments[:-1])


def alias_slash_mismatch(blocks: Blocks) -> Iterator[Found]:
    """Find file names that are glued to the directory's name."""
    for location in blocks.locations:
        path, prefix = _alias(location), location.pattern
        if location.is_prefix and path and prefix.endswith("/") and not path.endswith("/") and "$" not in path:
            reason = f"{location.title} ends with a slash and alias does not: {prefix}x opens {path}x"
            yield Found(location.own("alias")[-1].position, reason, f'write "alias {path}/;"')


def alias_without_capture(blocks: Blocks) -> Iterator[Found]:
    """Find an alias in a regex location without a capture: there alias is the whole path of the file."""
    for location in blocks.locations:
        path = _alias(location)
        if location.is_regex and path and "$" not in path:
            reason = f"in {location.title} alias is the whole path of the file: every request here opens {path}"
            yield Found(
                location.own("alias")[-1].position, reason, f'capture the rest of the path in the regex: "alias {path}$1;"'
            )


def _alias(location: Block) -> str:
    nodes = location.own("alias")
    return nodes[-1].arguments[0] if nodes and nodes[-1].arguments else ""


# The ends of paths that a regex names, to try it on: `\.php`, `\.(css|js)`, `\.(?:css|js)`.
_EXTENSIONS = re.compile(r"\\\.\(?(?:\?:)?([A-Za-z0-9|?]+)")


def regex_shadows_prefix(blocks: Blocks) -> Iterator[Found]:
    """Find regexes that win over prefixes, as they are asked after them."""
    for block in blocks.all:
        siblings = [one for one in block.blocks if one.context == LOCATION]
        regexes = [(one, regex) for one in siblings if (regex := one.regex()) is not None and not _only_refuses(one)]
        for prefix in siblings:
            if prefix.modifier == "" and prefix.pattern not in ("", "/") and _does_something(prefix):
                yield from _shadows(prefix, regexes)


def _shadows(prefix: Block, regexes: list[tuple[Block, Regex]]) -> Iterator[Found]:
    inner = [regex for one in prefix.blocks if (regex := one.regex()) is not None]
    path = prefix.pattern
    goals = _own_goals(prefix)
    taken: list[tuple[str, Block]] = []
    for location, regex in regexes:
        if _matches(regex, path) and not location.pattern.endswith("$"):
            reason = (
                f"{_place(location)} matches every path that begins with {path}, and regexes win: {prefix.title} is never used"
            )
            yield Found(prefix.node.position, reason, f'write "location ^~ {path}" to keep regexes out of it')
            continue
        if path.endswith("/") and any(_matches(regex, goal) for goal in goals):
            continue  # the location sends requests there on purpose, for the regex to take them
        samples = [
            *([path] if not path.endswith("/") else []),
            *(f"{path.rstrip('/')}/x.{one}" for one in _extensions(location.pattern)),
        ]
        sample = next((one for one in samples if _matches(regex, one) and not any(_matches(other, one) for other in inner)), None)
        if sample is not None:
            taken.append((sample, location))
    if taken:
        losses = ", ".join(
            f"{sample if sample != path else 'the path itself'} to {_place(location)}" for sample, location in taken
        )
        reason = f"regexes win over prefixes, so {prefix.title} loses {losses}"
        severity = WARNING if prefix.has("alias", "root") else INFO
        yield Found(prefix.node.position, reason, _how_to_keep(prefix, [location for _, location in taken], goals), severity)


def _place(location: Block) -> str:
    return f"{location.title} ({location.node.position})"


def _own_goals(prefix: Block) -> list[str]:
    """Return the paths under its own prefix that a location sends requests to: `return 301 /remote.php` in `location /remote`."""
    targets = [node.arguments[-1] for node in prefix.own("return") if node.arguments]
    targets += [node.arguments[1] for node in prefix.own("rewrite") if len(node.arguments) >= 2]
    targets += [node.arguments[-1] for node in prefix.own("try_files", "error_page") if node.arguments]
    paths = [re.split(r"[$?]", target, maxsplit=1)[0] for target in targets]
    return [path for path in paths if path.startswith(prefix.pattern)]


def _how_to_keep(prefix: Block, takers: list[Block], goals: list[str]) -> str:
    """Return advice that keeps regexes out of a prefix, but not out of paths that merely begin like it.

    `^~ /remote` would match /remote.php too, which is another file: often the very place where the location sends its requests.
    """
    path = prefix.pattern
    if path.endswith("/"):
        return f'write "location ^~ {path}" to keep regexes out of it'
    if any(_matches(regex, path) for one in takers if (regex := one.regex()) is not None):
        return f'write "location = {path}" if it is for that path alone'
    others = [f"{path}.{word}" for one in takers for word in _extensions(one.pattern)]
    is_prefix_of_others = any(_matches(regex, other) for one in takers if (regex := one.regex()) for other in [*others, *goals])
    if goals or is_prefix_of_others:
        return f'write "location ^~ {path}/" to keep regexes out of it, and "location = {path}" for the path itself'
    return f'write "location ^~ {path}" to keep regexes out of it'


def _extensions(pattern: str) -> list[str]:
    return [word.replace("?", "") for found in _EXTENSIONS.findall(pattern) for word in found.split("|") if word]


def _matches(regex: Regex, path: str) -> bool:
    try:
        return regex.search(path.encode("utf-8", "surrogateescape")) is not None
    except RegexTimedOut:
        return False


def _only_refuses(location: Block) -> bool:
    """Whether it only keeps requests from something: it does no harm that it wins."""
    refuses = any(is_refusal(node) for node in location.own("return"))
    return refuses or any(node.arguments == ("all",) for node in location.own("deny"))


def _does_something(location: Block) -> bool:
    return location.has(*PASSES, "alias", "root", "internal", "return", "deny", "auth_basic", "auth_request")


def if_in_location(blocks: Blocks) -> Iterator[Found]:
    """Find an `if` in a location that takes over, as it is a location of its own when it is true."""
    for location in blocks.locations:
        conditions = [block for block in location.blocks if block.context == LOCATION_IF]
        setting = [block for block in conditions if _settings(block)]
        for block in conditions:
            names = ", ".join(dict.fromkeys(node.name for node in _settings(block)))
            if location.has("try_files") and not _ends(block):
                reason = f"when {block.title} is true, try_files of {location.title} is not run: the if takes its place"
                fix = 'end the if with "return" or "rewrite ... last", or choose by a map'
                yield Found(block.node.position, reason, fix)
            elif len(setting) > 1 and block in setting:
                reason = (
                    f"{location.title} has {len(setting)} ifs with settings of their own ({names} here): of those that are "
                    "true only the last one counts"
                )
                yield Found(block.node.position, reason, "choose the values by a map of the conditions, without if")
            elif block in setting:
                reason = (
                    f"{names} in {block.title}: the if takes the place of {location.title} when it is true, with all it inherits"
                )
                yield Found(block.node.position, reason, "choose the value by a map; an if is safe with return and rewrite", INFO)


def _settings(block: Block) -> list[Node]:
    """Return the settings of an `if`, other than steps of rewriting and logging."""
    return [node for node in block.node.children or () if node.name not in (*STEPS, "access_log")]


def _ends(block: Block) -> bool:
    """Whether a true `if` ends the location."""
    leaving = ("last", "redirect", "permanent")
    return block.has("return", *PASSES) or any(
        node.arguments[-1:] and node.arguments[-1] in leaving for node in block.own("rewrite")
    )


def if_instead(blocks: Blocks) -> Iterator[Found]:
    """Find an `if` that does the work of a directive."""
    for block in blocks.all:
        for node in block.own("if"):
            text = " ".join(node.arguments)
            inside = block.inner(node)
            if inside is None or not _ends(inside):
                continue  # it sets a variable, which neither server_name nor try_files can do
            if block.context == SERVER and re.match(r"\(\s*\$(http_)?host\s", text):
                reason = "the host is compared for every request, after the server block has been chosen by that host"
                yield Found(node.position, reason, "write a server block of its own with that server_name")
            elif re.match(r"\(\s*!?-[fed]\s+\$request_filename", text):
                reason = "the file is looked for in an if, for every request"
                yield Found(node.position, reason, 'write "try_files $uri $uri/ ..." instead')


def try_files_with_proxy(blocks: Blocks) -> Iterator[Found]:
    """Find a try_files whose file is never sent: the proxy_pass of the same location still answers."""
    for location in blocks.locations:
        nodes = location.own("try_files")
        if nodes and location.has("proxy_pass", "grpc_pass") and len(nodes[-1].arguments) > 1:
            reason = (
                f"in {location.title} try_files finds the file, and then proxy_pass answers all the same: no file is ever sent"
            )
            fix = 'move proxy_pass to a named location, "location @app", and end try_files with "@app"'
            yield Found(nodes[-1].position, reason, fix)


def unanchored_regex(blocks: Blocks) -> Iterator[Found]:
    """Find a regex of an extension without its end: `\\.php` is also in `/picture.php.jpg`."""
    for location in blocks.locations:
        if (
            location.is_regex
            and not _only_refuses(location)
            and re.search(r"\\\.(?:[A-Za-z0-9]+|\((?:\?:)?[A-Za-z0-9|?]+\))$", location.pattern)
        ):
            word = _extensions(location.pattern)[-1]
            reason = f"the regex of {location.title} has no end: it takes /x.{word}.txt and /x.{word}y too"
            fix = f'write "{location.modifier} {location.pattern}$"'
            yield Found(location.node.position, reason, fix, WARNING if location.has("fastcgi_pass") else INFO)


def allow_without_deny(blocks: Blocks) -> Iterator[Found]:
    """Find a list of allowed clients that refuses no others."""
    for block in blocks.all:
        allows = [node for node in block.own("allow") if node.arguments != ("all",)]
        if block.value("satisfy") == "any" and _asks_who(block):
            continue  # clients in no line have to authenticate
        if allows and not any(node.arguments == ("all",) for node in block.own("deny")):
            reason = 'allow without "deny all": clients in no line are let in as well'
            yield Found(allows[-1].position, reason, 'end the list with "deny all;"')


def _asks_who(block: Block) -> bool:
    """Whether something other than the address decides which clients are let in."""
    return any(block.value(name, "off") != "off" for name in ("auth_basic", "auth_request", "auth_jwt", "auth_oidc"))


def return_before_access(blocks: Blocks) -> Iterator[Found]:
    """Find a `return` that answers before a password is asked for."""
    for location in blocks.locations:
        guards = [node for node in location.own("deny", "auth_basic", "auth_request") if node.arguments != ("off",)]
        for node in location.own("return"):
            if guards and not is_refusal(node):
                reason = f'"return" answers before access is checked: "{guards[0].name}" has no effect on it'
                fix = "serve the answer from a file or a location of its own behind the check, or leave the check out"
                yield Found(node.position, reason, fix)


def rewrite_instead_of_return(blocks: Blocks) -> Iterator[Found]:
    """Find a redirect whose regex always matches."""
    for block in blocks.all:
        for node in block.own("rewrite"):
            if len(node.arguments) < 2 or node.arguments[0] not in (
                "^",
                ".*",
                "^.*",
                "^.*$",
                "^/(.*)$",
                "^/(.*)",
                "^(.*)$",
                "^(.*)",
            ):
                continue
            target = node.arguments[1]
            if target.startswith(("http://", "https://", "$scheme")) or node.arguments[2:] in (("permanent",), ("redirect",)):
                code = 301 if node.arguments[2:] == ("permanent",) else 302
                base = re.sub(r"(?:/?\$1|\$request_uri)\??$", "", target).rstrip("?")
                tail = "$request_uri" if base != target.rstrip("?") else ""
                reason = "this redirect runs a regex that always matches, and sends the path decoded and escaped again"
                yield Found(node.position, reason, f'write "return {code} {base}{tail};"')


def types_lost(blocks: Blocks) -> Iterator[Found]:
    """Find a block that adds one type and loses all the others."""
    for block in blocks.all:
        own = [entry for node in block.own("types") for entry in node.children or ()]
        outer = block.outer.effective("types") if block.outer is not None and own else []
        mine = {word for entry in own for word in entry.arguments}
        lost = [word for node in outer for entry in node.children or () for word in entry.arguments if word not in mine]
        # A type for everything else says that the list was meant to be short.
        if not lost or block.has("default_type") or _is_of_extensions(block, mine):
            continue
        some = ", ".join(f".{word}" for word in lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        reason = (
            f"{block.title} has types of its own and so inherits none from outside ({outer[0].position}): {some} get "
            "default_type here"
        )
        fix = "repeat the whole list here (include mime.types once more), or add the type to the list that applies everywhere"
        yield Found(block.own("types")[0].position, reason, fix)


def _is_of_extensions(location: Block, words: set[str]) -> bool:
    """Whether a location only matches paths with extensions that are among these words."""
    if location.modifier == "=":
        return location.pattern.rpartition(".")[2] in words
    return location.is_regex and location.pattern.endswith("$") and bool(words) and set(_extensions(location.pattern)) <= words


_ALIAS = "location {location} {{\n    alias {path};\n}}"
_TYPES = "types {{\n    text/html html;\n    text/css css;\n}}\nserver {{\n    listen 80;\n{}}}"
_DAV = (
    "location ~ \\.php{end} {{\n    root /srv/www;\n    try_files $uri =404;\n    fastcgi_pass 127.0.0.1:9000;\n"
    "    fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;\n}}"
)

LOCATION_RULES = [
    Rule(
        "alias-traversal",
        ERROR,
        "location without and alias with a trailing slash: files outside can be read",
        "The prefix `/img` also takes `/img../secret`, and the rest of the path is put after the alias: "
        "`/data/img/../secret`. Dots were resolved before, but `img..` is a name, not a dot segment.",
        alias_traversal,
        _ALIAS.format(location="/img", path="/data/img/"),
        _ALIAS.format(location="/img/", path="/data/img/"),
    ),
    Rule(
        "capture-traversal",
        ERROR,
        "a capture in alias, root or try_files: files outside can be read",
        "`^/static(.*)$` also matches `/static../secret`, whose capture is `../secret`. Dots were resolved before, but "
        "`static..` is a name, not a dot segment. A capture after a slash that is part of the regex is fine. A "
        "capture that can only be the dots themselves, and leads one level up, is a warning.",
        capture_traversal,
        _ALIAS.format(location='~ "^/static(.*)$"', path="/data/files/$1"),
        _ALIAS.format(location='~ "^/static/(.*)$"', path="/data/files/$1"),
    ),
    Rule(
        "alias-slash-mismatch",
        WARNING,
        "location with and alias without a trailing slash",
        "alias replaces the prefix letter for letter: `/img/x` opens `/data/imgx`.",
        alias_slash_mismatch,
        _ALIAS.format(location="/img/", path="/data/img"),
        _ALIAS.format(location="/img/", path="/data/img/"),
    ),
    Rule(
        "alias-without-capture",
        WARNING,
        "alias in a regex location without a capture",
        "A regex location has no prefix that could be replaced: alias is the path of the file and needs captures of the regex.",
        alias_without_capture,
        _ALIAS.format(location='~ "^/img/.+$"', path="/data/img/"),
        _ALIAS.format(location='~ "^/img/([^/]+)$"', path="/data/img/$1"),
    ),
    Rule(
        "regex-shadows-prefix",
        WARNING,
        "a regex location takes requests from a prefix location",
        "The longest prefix is only a candidate: the first regex that matches wins over it, unless the prefix is marked "
        "`^~`. That is an info if some requests of a proxied location are taken away, a warning if it has files of "
        "its own or is never used. Regexes that only refuse are left out.",
        regex_shadows_prefix,
        "location /static/ {\n    alias /data/static/;\n}\nlocation ~* \\.(css|js)$ {\n    expires 30d;\n}",
        "location ^~ /static/ {\n    alias /data/static/;\n}\nlocation ~* \\.(css|js)$ {\n    expires 30d;\n}",
    ),
    Rule(
        "if-in-location",
        WARNING,
        "if in a location does not do what it looks like",
        "An `if` that is true takes the place of its location: try_files is gone, lists it sets are replaced, and of "
        "several only the last one counts. With return and rewrite in it, it is safe. A single `if` with settings is an "
        "info.",
        if_in_location,
        "location / {\n    if ($arg_a) {\n        set $x 1;\n    }\n    try_files $uri /index.html;\n}",
        "location / {\n    if ($arg_a) {\n        return 301 /a/;\n    }\n    try_files $uri /index.html;\n}",
    ),
    Rule(
        "if-instead",
        INFO,
        "an if that does the work of a directive",
        "Servers are chosen by server_name, and files by try_files; an `if` does it again for every request, and less "
        "completely.",
        if_instead,
        "location / {\n    if (!-f $request_filename) {\n        rewrite ^ /index.html last;\n    }\n}",
        "location / {\n    try_files $uri /index.html;\n}",
    ),
    Rule(
        "try-files-with-proxy",
        WARNING,
        "try_files and proxy_pass in one location",
        "try_files only sets the URI; the handler of the location answers, and that is the proxy, for files too.",
        try_files_with_proxy,
        "location /a/ {\n    try_files $uri /b/;\n    proxy_set_header Host $host;\n    proxy_pass http://127.0.0.1:3000;\n}",
        "location /a/ {\n    try_files $uri @app;\n}\nlocation @app {\n    proxy_set_header Host $host;\n"
        "    proxy_pass http://127.0.0.1:3000;\n}",
    ),
    Rule(
        "types-lost",
        WARNING,
        "types of a block replace all others",
        "`types` is inherited as a whole list, and only by blocks that have none of their own. One type in a server takes away "
        "what `include mime.types` gave it, and style sheets are sent as application/octet-stream.",
        types_lost,
        _TYPES.format("    types {\n        application/wasm wasm;\n    }\n"),
        _TYPES.replace("}}\nserver", "    application/wasm wasm;\n}}\nserver").format(""),
        "http",
    ),
    Rule(
        "unanchored-regex",
        INFO,
        "the regex of an extension without its end",
        "`\\.php` matches anywhere in the path. If programs are run there, it may be an uploaded file, which is a warning.",
        unanchored_regex,
        _DAV.format(end=""),
        _DAV.format(end="$"),
    ),
    Rule(
        "allow-without-deny",
        WARNING,
        "allow without deny all",
        "Rules are tried in order, and a client that matches none of them is let in.",
        allow_without_deny,
        "location /status {\n    allow 127.0.0.1;\n}",
        "location /status {\n    allow 127.0.0.1;\n    deny all;\n}",
    ),
    Rule(
        "return-before-access",
        WARNING,
        "return in a location that restricts access",
        "`return` belongs to the rewrite phase, which comes before allow, deny, auth_basic and auth_request.",
        return_before_access,
        'location /secret {\n    deny all;\n    return 200 "secret";\n}',
        "location /secret {\n    deny all;\n}",
    ),
    Rule(
        "rewrite-instead-of-return",
        INFO,
        "a redirect by a rewrite whose regex always matches",
        "return needs no regex, and $request_uri sends the client's own path back, letter for letter.",
        rewrite_instead_of_return,
        "location /old/ {\n    rewrite ^ https://example.com$request_uri? permanent;\n}",
        "location /old/ {\n    return 301 https://example.com$request_uri;\n}",
    ),
]
