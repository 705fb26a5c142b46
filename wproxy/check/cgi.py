"""Rules about FastCGI, and about PHP behind it: the file that runs, and the rest of the path (protocols.md §4)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wproxy.check.blocks import Block, Blocks, variables_in
from wproxy.check.finding import ERROR, INFO, WARNING, Found, Rule
from wproxy.config.tree import Node

# Variables that begin with the directory of files.
_WITH_ROOT = frozenset(("document_root", "realpath_root", "request_filename"))
# Variables that are paths of a URI.
_OF_URI = frozenset(("fastcgi_script_name", "uri", "document_uri", "request_uri"))
# Paths that PHP-FPM answers itself.
_OWN_PAGES = re.compile(r"status|ping")


def php_without_test(blocks: Blocks) -> Iterator[Found]:
    """Find paths that end in .php and need not be a program."""
    for location in blocks.locations:
        if not location.is_regex or not location.has("fastcgi_pass") or "php" not in location.pattern:
            continue
        guarded = location.has("try_files") or any("-f" in " ".join(node.arguments) for node in location.own("if"))
        names_one = re.search(r"[A-Za-z)]\\\.php", location.pattern) is not None
        if not guarded and not names_one:
            reason = f"{location.title} passes every path to PHP, file or not: /upload/x.jpg/y.php may run x.jpg"
            yield Found(location.node.position, reason, 'add "try_files $fastcgi_script_name =404;"')


def _php_locations(blocks: Blocks) -> Iterator[tuple[Block, Node]]:
    """Yield locations that pass requests to PHP, each with its fastcgi_pass."""
    for location in blocks.locations:
        nodes = location.own("fastcgi_pass")
        if nodes and nodes[-1].arguments and _is_php(location, nodes[-1], blocks):
            yield location, nodes[-1]


def _is_php(location: Block, node: Node, blocks: Blocks) -> bool:
    """Whether PHP is behind a fastcgi_pass, going by names and by the port that PHP-FPM has unless told otherwise."""
    targets = [node.arguments[0]]
    upstream = blocks.upstreams.get(targets[0].lower())
    if upstream is not None:
        targets += [server.arguments[0] for server in upstream.own("server") if server.arguments]
    return "php" in location.pattern or any("php" in target or target.endswith(":9000") for target in targets)


def _parameter(location: Block, name: str) -> Node | None:
    """Return the fastcgi_param of that name that applies in a location, the last one if there are several."""
    found = [node for node in location.effective("fastcgi_param") if len(node.arguments) >= 2]
    return next((node for node in reversed(found) if node.arguments[0] == name), None)


def script_filename_missing(blocks: Blocks) -> Iterator[Found]:
    """Find requests that tell PHP no file."""
    for location, node in _php_locations(blocks):
        if _parameter(location, "SCRIPT_FILENAME") is None and not _OWN_PAGES.search(location.pattern):
            reason = f'{location.title} sends no SCRIPT_FILENAME: PHP-FPM answers 404, "File not found.", to every request'
            fix = 'add "include fastcgi.conf;", or "fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;"'
            yield Found(node.position, reason, fix)


def script_filename_without_root(blocks: Blocks) -> Iterator[Found]:
    """Find a SCRIPT_FILENAME that is no file below root."""
    for location, _ in _php_locations(blocks):
        script = _parameter(location, "SCRIPT_FILENAME")
        if script is None:
            continue
        value = script.arguments[1]
        names = variables_in(value)
        if names and names[0] in _OF_URI and value.startswith("$"):
            reason = f"SCRIPT_FILENAME {value} begins with the path of the URI: PHP looks for it from the root of the file system"
            yield Found(script.position, reason, 'put "$document_root" before it')
        elif names and names[0] in _WITH_ROOT and not location.effective("root") and not location.effective("alias"):
            reason = f'no root applies in {location.title}: {value} begins with the default root, "html" below the prefix'
            yield Found(script.position, reason, "set root in the server, to the directory of the programs")


def alias_with_php(blocks: Blocks) -> Iterator[Found]:
    """Find scripts below an alias that are looked for with the prefix that the alias replaces."""
    for location, _ in _php_locations(blocks):
        aliased = next((block for block in location.chain() if block.has("alias", "root")), None)
        script = _parameter(location, "SCRIPT_FILENAME")
        if aliased is None or not aliased.has("alias") or script is None or not aliased.is_prefix:
            continue
        names = variables_in(script.arguments[1])
        if names[:1] in (["document_root"], ["realpath_root"]) and _OF_URI.intersection(names):
            path, prefix = aliased.own("alias")[-1].arguments[0], aliased.pattern
            reason = (
                f"{script.arguments[1]} puts the whole URI after the alias: for {prefix.rstrip('/')}/x.php PHP looks for "
                f"{path.rstrip('/')}{prefix.rstrip('/')}/x.php"
            )
            yield Found(script.position, reason, 'write "fastcgi_param SCRIPT_FILENAME $request_filename;" in the location')


def path_info_in_script(blocks: Blocks) -> Iterator[Found]:
    """Find locations that take /x.php/more, and do not divide it."""
    for location, node in _php_locations(blocks):
        regex = location.regex()
        if regex is None or location.effective("fastcgi_split_path_info"):
            continue
        takes_more = regex.search(b"/x.php/more") is not None or regex.search(b"/index.php/more") is not None
        if takes_more and _parameter(location, "SCRIPT_FILENAME") is not None and not location.has("try_files"):
            reason = f"{location.title} takes /index.php/more too, and PHP gets all of it as the name of the script"
            fix = 'add "fastcgi_split_path_info ^(.+?\\.php)(/.*)$;" and "fastcgi_param PATH_INFO $fastcgi_path_info;"'
            yield Found(node.position, reason, fix)


def path_info_lost(blocks: Blocks) -> Iterator[Found]:
    """Find a PATH_INFO that try_files has emptied before it is sent."""
    for location, _ in _php_locations(blocks):
        if not location.has("try_files") or not location.effective("fastcgi_split_path_info"):
            continue
        node = _parameter(location, "PATH_INFO")
        tried = [word for one in location.own("try_files") for word in one.arguments[:-1]]
        if node is not None and "fastcgi_path_info" in variables_in(node.arguments[1]) and "$fastcgi_script_name" in tried:
            reason = "try_files makes the script the URI, which has no more path after it: $fastcgi_path_info is then empty"
            fix = 'keep it before try_files, "set $path_info $fastcgi_path_info;", and send $path_info'
            yield Found(node.position, reason, fix)


_PASS = "fastcgi_pass unix:/run/php/php-fpm.sock;"
_SCRIPT = "fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;"
_GUARD = "if (!-f $document_root$fastcgi_script_name) {\n    return 404;\n}"
_DIVIDE = "fastcgi_split_path_info ^(.+?\\.php)(/.*)$;"
_TRY = "try_files $fastcgi_script_name =404;"


def _site(location: str, *lines: str) -> str:
    """Return a server with files and one location, with these lines."""
    inside = "\n".join(lines).replace("\n", "\n        ")
    return f"server {{\n    listen 80;\n    root /srv/www;\n    location {location} {{\n        {inside}\n    }}\n}}"


def _aliased(script: str) -> str:
    return _site(
        "/admin/", "alias /srv/admin/;", "location ~ \\.php$ {", "    try_files $uri =404;", f"    {script}", f"    {_PASS}", "}"
    )


CGI_RULES = [
    Rule(
        "php-without-test",
        INFO,
        "paths are passed to PHP without a check that the file exists",
        "With cgi.fix_pathinfo PHP runs the longest part of the path that is a file, whatever it is.",
        php_without_test,
        _site("~ \\.php$", _SCRIPT, _PASS),
        _site("~ \\.php$", _TRY, _SCRIPT, _PASS),
        "http",
    ),
    Rule(
        "script-filename-missing",
        ERROR,
        "PHP is not told which file to run",
        "PHP-FPM runs the file of SCRIPT_FILENAME and nothing else. fastcgi_params does not have it, fastcgi.conf does.",
        script_filename_missing,
        _site("= /index.php", "fastcgi_param QUERY_STRING $query_string;", _PASS),
        _site("= /index.php", "fastcgi_param QUERY_STRING $query_string;", _SCRIPT, _PASS),
        "http",
    ),
    Rule(
        "script-filename-without-root",
        WARNING,
        "SCRIPT_FILENAME is no file below root",
        "It has to be an absolute path on the machine of PHP-FPM. $fastcgi_script_name is the path of the URI.",
        script_filename_without_root,
        _site("= /index.php", "fastcgi_param SCRIPT_FILENAME $fastcgi_script_name;", _PASS),
        _site("= /index.php", _SCRIPT, _PASS),
        "http",
    ),
    Rule(
        "alias-with-php",
        ERROR,
        "scripts below an alias are looked for in the wrong place",
        "An alias replaces the prefix of the location, and $document_root is the alias. The URI after it still has the prefix. "
        "$request_filename is the file that would be opened here.",
        alias_with_php,
        _aliased(_SCRIPT),
        _aliased("fastcgi_param SCRIPT_FILENAME $request_filename;"),
        "http",
    ),
    Rule(
        "path-info-in-script",
        INFO,
        "the path after a script is taken for a part of its name",
        "Applications with pretty paths are asked for /index.php/some/path. fastcgi_split_path_info divides that into script and "
        "PATH_INFO; without it PHP has to find out by itself (cgi.fix_pathinfo), or answers 404.",
        path_info_in_script,
        _site("~ \\.php(/|$)", _GUARD, _SCRIPT, _PASS),
        _site("~ \\.php(/|$)", _DIVIDE, _GUARD, _SCRIPT, "fastcgi_param PATH_INFO $fastcgi_path_info;", _PASS),
        "http",
    ),
    Rule(
        "path-info-lost",
        WARNING,
        "try_files empties $fastcgi_path_info",
        "try_files makes the file that it finds the URI, and $fastcgi_path_info is computed from the URI when it is used.",
        path_info_lost,
        _site("~ \\.php(/|$)", _DIVIDE, _TRY, _SCRIPT, "fastcgi_param PATH_INFO $fastcgi_path_info;", _PASS),
        _site(
            "~ \\.php(/|$)",
            _DIVIDE,
            "set $path_info $fastcgi_path_info;",
            _TRY,
            _SCRIPT,
            "fastcgi_param PATH_INFO $path_info;",
            _PASS,
        ),
        "http",
    ),
]
