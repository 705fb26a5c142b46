"""The steps of the rewrite module at work: `set`, `if`, `rewrite`, `break`, `return` (routing.md §3.7; nginx:
ngx_http_rewrite_module.c, ngx_http_script.c).

`run_steps` runs the steps of a server or of a location one after the other. It changes the request (path, args, variables, and
the location if an `if` with settings of its own holds) and returns a response when a step answers.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from copy import copy
from typing import Any

from worker.content.returns import answer_return
from worker.logs import log_request
from worker.pages import error_response
from wproxy.directives.rewrite import (
    BREAK,
    EQUALS,
    GO_ON,
    IS_SET,
    MATCHES,
    Assignment,
    Break,
    Condition,
    If,
    Return,
    Rewrite,
    Step,
)
from wproxy.files import shown_path
from wproxy.http import Request, Response
from wproxy.template import checked
from wproxy.variables import ASSIGNABLE


class Ended:
    """The result of a step that ends the steps without an answer."""


ENDED = Ended()
Outcome = Response | Ended | None


def run_steps(request: Request, steps: tuple[Step, ...]) -> Outcome:
    """Run the steps in order; return a response when one answers, ENDED after `break` and `last`, else None.

    `request.uri_changed` says afterwards whether a location must be found for a new URI.
    """
    for step in steps:
        outcome = _TAKE[type(step)](request, step)
        if outcome is not None:
            return outcome
    return None


def _return(request: Request, step: Return) -> Outcome:
    note(request, step, f"return {step.status}")
    return answer_return(request, step)


def _break(request: Request, step: Break) -> Outcome:
    note(request, step, "break")
    if request.uri_changed:
        request.valid_location = False
        request.uri_changed = False
    return ENDED


def _assign(request: Request, step: Assignment) -> Outcome:
    template = step.plain if step.plain is not None and request.has_rewritten else step.value
    value = template.evaluate(request)
    assign_value(request, step.name, value)
    note(request, step, f'set ${step.name} to "{shown(value)}"')
    return None


def assign_value(request: Request, name: str, value: bytes) -> None:
    """Give a variable a value. name: in lower case."""
    assign = ASSIGNABLE.get(name)
    if assign is not None:
        assign(request, value)
        if name == "args":
            request.line = copy(request.line)  # the memory of its line does not apply to these
    else:
        if request.values is None:
            request.values = {}
        request.values[name] = value


def _if(request: Request, step: If) -> Outcome:
    holds = condition_holds(request, step.condition)
    note(request, step, f"if {step.condition.text}: {'true' if holds else 'false'}")
    if not holds:
        return None
    if step.location is not None:
        request.lead_to(step.location)
    return run_steps(request, step.steps)


def _rewrite(request: Request, step: Rewrite) -> Outcome:
    path = request.path
    match = step.regex.search(path)
    if match is None:
        request.captures = None
        log_rewrite(request, f'"{step.regex.text}" does not match "{shown(path)}"')
        note(request, step, f'rewrite {step.regex.text}: does not match "{shown(path)}"')
        return None
    request.capture(match)
    request.has_rewritten = True
    log_rewrite(request, f'"{step.regex.text}" matches "{shown(path)}"')
    target = step.replacement.evaluate(request)
    if step.redirect:
        return _redirect(request, step, target)
    args = step.args.evaluate(request) if step.args is not None else None
    if step.adds_args:
        # The arguments of the replacement come first.
        args = request.args if args is None else args + b"&" + request.args if request.args else args
    elif args is None and request.args is not None:
        args = b""
    if not target:
        log_request(request, "error", "the rewritten URI has a zero length")
        return error_response(request, 500, request.route.server_token)
    if target is request.path:
        request.line = copy(request.line)  # the memory of its line does not apply to this URI
    request.path = target
    request.args = args
    request.internal = True
    request.origin_stands = False
    shown_target = shown(target) + ("?" + shown(args) if args else "")
    log_rewrite(request, f'rewritten data: "{shown(target)}", args: "{shown(args or b"")}"')
    note(request, step, f'rewrite {step.regex.text}: "{shown(path)}" becomes "{shown_target}" {step.flag}'.rstrip())
    if step.flag == BREAK:
        request.valid_location = False
        request.uri_changed = False
        return ENDED
    request.uri_changed = True
    return None if step.flag == GO_ON else ENDED


def _redirect(request: Request, step: Rewrite, target: bytes) -> Outcome:
    """Answer a rewrite with a redirect."""
    target = unescape_redirect(target)
    if step.adds_args and request.args:
        target += (b"&" if step.args is not None else b"?") + request.args
    log_rewrite(request, f'rewritten redirect: "{shown(target)}"')
    note(request, step, f'rewrite {step.regex.text}: redirect {step.redirect} to "{shown(target)}"')
    return error_response(request, step.redirect, request.route.server_token, redirect_target(request, target))


_TAKE: dict[type, Callable[[Request, Any], Outcome]] = {
    Return: _return,
    Break: _break,
    Assignment: _assign,
    If: _if,
    Rewrite: _rewrite,
}


# Conditions.


def condition_holds(request: Request, condition: Condition) -> bool:
    """Whether an `if` holds. A regex leaves its captures, or clears them when it does not match."""
    value = condition.value.evaluate(request)
    kind = condition.kind
    if kind == IS_SET:
        return value not in (b"", b"0")
    if kind == EQUALS:
        assert condition.against is not None
        holds = value == condition.against.evaluate(request)
    elif kind == MATCHES:
        assert condition.regex is not None
        match = condition.regex.search(value)
        holds = match is not None
        log_rewrite(request, f'"{condition.regex.text}" {"matches" if holds else "does not match"} "{shown(value)}"')
        if match is not None:
            request.capture(match)
        else:
            request.captures = None
    else:
        holds = file_test(kind, value)
    return holds is not condition.negated


def file_test(kind: str, path: bytes) -> bool:
    """Test `-f` file, `-d` directory, `-e` anything, `-x` executable; False if the path cannot be examined."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    if kind == "-f":
        return stat.S_ISREG(mode)
    if kind == "-d":
        return stat.S_ISDIR(mode)
    return kind == "-e" or bool(mode & 0o111)


# Redirects.

# An escape, something that only begins like one, or the beginning of the arguments.
_ESCAPE = re.compile(rb"%(?:([0-9A-Fa-f]{2})|[0-9A-Fa-f](?s:.)?|((?s:.)))?|\?")


def unescape_redirect(target: bytes) -> bytes:
    """Undo the escaping of harmless bytes: %26 to %7e become themselves, up to the arguments (NGX_UNESCAPE_REDIRECT).

    Invalid escapes are treated as in nginx: `%A` at the end and `%Ax` are dropped, of `%x` the `x` is left.
    """
    if b"%" not in target:
        return target
    out = bytearray()
    position = 0
    for match in _ESCAPE.finditer(target):
        out += target[position : match.start()]
        position = match.end()
        digits, other = match.groups()
        if match[0] == b"?" or digits in (b"3F", b"3f"):
            out += b"?"
            break
        if digits:
            byte = int(digits, 16)
            out += bytes([byte]) if 0x25 < byte < 0x7F else match[0]
        elif other:
            out += other
    return bytes(out + target[position:])


def redirect_target(request: Request, target: bytes) -> bytes:
    """Return the target of a redirect in the form for a Location."""
    return checked(target)


# Messages.


def shown(value: bytes) -> str:
    """Return bytes for a log line or an explanation; controls as \\xHH."""
    return shown_path(value)


def log_rewrite(request: Request, text: str) -> None:
    """Log the action of a rewrite at notice, with `rewrite_log on`."""
    if request.location.rewrite_log:
        log_request(request, "notice", text)


def note(request: Request, step: Step, text: str) -> None:
    """Tell the trace of `wproxy explain`, if there is one."""
    if request.trace is not None:
        request.trace.step(step, text)
