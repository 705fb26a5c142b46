"""ssi: the commands in pages are carried out while they are sent (subrequests.md §5; nginx: ngx_http_ssi_filter_module.c).

A page is parsed as far as its pieces have come; each include starts at once, so that all of them are under way together, and is
sent in its turn. Only `wait` and `set` hold up the commands after them. Everything that pages of one client's request share is in
`Request.ssi`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from worker.content.accelerated import is_unsafe
from worker.filters.fields import copied, forget_length, has_type, next_key, weaken_etag, without
from worker.inclusion import Inclusion
from worker.logs import log_request
from worker.loop import Loop, give_way
from worker.outlet import NOTHING, Wrapper
from worker.services import Services
from worker.subrequest import Cycle, Subrequest
from wproxy.bodies import BodySource
from wproxy.config.model import Location
from wproxy.directives.media_types import changed_types
from wproxy.failures import UpstreamFailure
from wproxy.files import shown_path
from wproxy.http import Request, Response, ResponseFields
from wproxy.regex import compile_regex
from wproxy.ssi.parse import MOST_PARAMETERS, Bad, Command, Item, Parser, shown
from wproxy.ssi.state import SsiState
from wproxy.ssi.strings import ENCODINGS, InvalidString, as_entities, evaluate, read_expression
from wproxy.variables.namespace import Namespace
from wproxy.variables.registry import find_builtin

ERROR = b"[an error occurred while processing the directive]"
TIME_FORMAT = "%A, %d-%b-%Y %H:%M:%S %Z"
# The includes of one page that are under way at once, and the largest response that `set` takes.
MOST_INCLUDES = 64
MOST_IN_MEMORY = 1 << 20
SENDING = "sending response to client"


def ssi_filter(location: Location, services: Services) -> Ssi | None:
    """Return the filter of a location; None if ssi is off."""
    return None if location.ssi is None else Ssi(location, location.ssi, services.loop)


class Ssi:
    """The filter of one location. key: the place of the changed fields on the originals."""

    __slots__ = ("_keeps_modified", "_key", "_types", "loop", "most", "namespace", "silent")

    def __init__(self, location: Location, namespace: Namespace, loop: Loop) -> None:
        self._types = changed_types(location.ssi_types)
        self._keeps_modified = location.ssi_last_modified
        self._key = next_key()
        self.loop = loop
        self.namespace = namespace
        self.most = location.ssi_value_length
        self.silent = location.ssi_silent_errors

    def unchanged(self, request: Request, fields: ResponseFields) -> ResponseFields | None:
        """Return the fields of a response without commands; None if it may have some."""
        return None if self._applies(fields) else fields

    def __call__(self, request: Request, response: Response) -> Response:
        """Carry out the commands in the body."""
        fields = response.fields
        if not self._applies(fields) or response.tunnel is not None:
            return response
        changed = fields.wire.get(self._key)
        if changed is None:
            changed = fields.wire[self._key] = self._changed(fields)
        response.fields = changed
        if not response.bodiless:
            response.source = Page(request, self, response.body, response.source)
            response.body = b""
        return response

    def _applies(self, fields: ResponseFields) -> bool:
        return fields.content_length != 0 and has_type(fields, self._types)

    def _changed(self, fields: ResponseFields) -> ResponseFields:
        changed = copied(fields)
        forget_length(changed)
        without(changed, b"accept-ranges")
        if self._keeps_modified:
            weaken_etag(changed)
        else:
            changed.last_modified = -1
            without(changed, b"last-modified", b"etag")
        return changed


class Failed(Exception):
    """A command that failed: the page has the error text in its place. The message is for the log, unless it is empty."""


# The parameters of each command, and which of them are mandatory; the conditions in which a branch may follow.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "include": ("virtual", "file", "wait", "set", "stub"),
    "echo": ("var", "default", "encoding"),
    "config": ("errmsg", "timefmt"),
    "set": ("var", "value"),
    "if": ("expr",),
    "elif": ("expr",),
    "else": (),
    "endif": (),
    "block": ("name",),
    "endblock": (),
}
MANDATORY: dict[str, tuple[str, ...]] = {
    "echo": ("var",),
    "set": ("var", "value"),
    "if": ("expr",),
    "elif": ("expr",),
    "block": ("name",),
}
NO_IF, IN_IF, IN_ELSE = range(3)
# The last state of an `if` in which a branch may follow.
BRANCHES = {"elif": IN_IF, "else": IN_IF, "endif": IN_ELSE}


class Page(Wrapper):
    """A page whose commands are carried out while it is read.

    is_shown: whether texts go to the client. block: the name of the block that texts go to instead; None outside of one.
    is_chosen: whether a branch of the `if` has been.
    """

    def __init__(self, request: Request, plan: Ssi, at_hand: bytes, source: BodySource | None) -> None:
        self._unsent = NOTHING
        self._source = source
        self._request = request
        self._plan = plan
        main = request.main or request
        if main.ssi is None:
            main.ssi = SsiState()
        self._state = main.ssi
        self._parser = Parser(plan.most)
        self._items: deque[Item] = deque(self._parser.feed(at_hand))
        self._parts: deque[bytes | Inclusion] = deque()
        self._stubs: dict[Inclusion, bytes] = {}
        self._inner: Page | None = None
        self._under_way = 0
        self._holds = False  # the commands after an include wait for its end
        self.is_shown = True
        self.block: bytes | None = None
        self.condition = NO_IF
        self.is_chosen = False
        self._error = ERROR
        self._time_format = TIME_FORMAT
        self._encode: Callable[[bytes], bytes] = as_entities

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end. Raises UpstreamFailure."""
        while True:
            await self._carry_out()
            while self._parts:
                piece = await self._next_piece()
                if piece:
                    return piece
            self._holds = False
            if self._items:
                continue
            piece = b"" if self._source is None else await self._source.read()
            if not piece:
                return b""
            self._items.extend(self._parser.feed(piece))
            await give_way()

    async def _next_piece(self) -> bytes:
        """Return the next piece of what is ready to be sent; b"" where a part ends."""
        if self._inner is not None:
            piece = await self._inner.read()
            if not piece:
                self._inner = None
            return piece
        part = self._parts[0]
        if isinstance(part, bytes):
            self._parts.popleft()
            return part
        piece = await part.read()
        if not piece:
            self._parts.popleft()
            self._under_way -= 1
            part.close()
            stub = self._stubs.pop(part, None)
            if stub is not None and part.is_empty:
                return self._stub(part, stub)
        return piece

    def _stub(self, inclusion: Inclusion, text: bytes) -> bytes:
        """Return a block in place of an include; its commands are carried out if the filters of the include do that."""
        request = inclusion.request
        namespace = request.location.ssi
        if namespace is None or not inclusion.has_failed:
            return text
        self._inner = Page(request, Ssi(request.location, namespace, self._plan.loop), text, None)
        self._parts.appendleft(b"")  # the page is read while there is a part
        return b""

    async def _carry_out(self) -> None:
        """Carry out commands, as long as not too many includes are under way."""
        while self._items and not self._holds and self._under_way < MOST_INCLUDES:
            item = self._items.popleft()
            if isinstance(item, bytes):
                self._show(item)
            elif isinstance(item, Bad):
                self._fail(item.text)
            else:
                try:
                    await self._command(item)
                except Failed as failure:
                    self._fail(str(failure))

    def _show(self, text: bytes) -> None:
        """Add a text to the page, or to the block that it is in."""
        if not text:
            return
        if self.is_shown:
            self._parts.append(text)
        elif self.block is not None:
            self._state.blocks[self.block] += text

    def _fail(self, text: str) -> None:
        """Put the error text into the page."""
        if text:
            log_request(self._request, "error", f"{text} while {SENDING}")
        if not self._plan.silent:
            self._parts.append(self._error)

    async def _command(self, command: Command) -> None:
        """Carry out one command. Raises Failed, UpstreamFailure."""
        name = command.name
        known = PARAMETERS.get(name)
        if not self.is_shown and name != "endblock":
            if self.block is not None:
                self._state.blocks[self.block] += command.text
                return
            if name not in BRANCHES:
                return
        if known is None:
            raise Failed(f'invalid SSI command: "{name}"')
        if name in BRANCHES and (self.condition == NO_IF or self.condition > BRANCHES[name]):
            raise Failed(f'invalid context of SSI command: "{name}"')
        if len(command.parameters) > MOST_PARAMETERS:
            raise Failed(f'too many SSI command parameters: "{name}"')
        given: dict[str, bytes] = {}
        for parameter, value in command.parameters:
            if parameter not in known:
                raise Failed(f'invalid parameter name: "{parameter}" in "{name}" SSI command')
            if parameter in given:
                raise Failed(f'duplicate "{parameter}" parameter in "{name}" SSI command')
            given[parameter] = value
        for parameter in MANDATORY.get(name, ()):
            if parameter not in given:
                raise Failed(f'mandatory "{parameter}" parameter is absent in "{name}" SSI command')
        try:
            if name == "include":
                await self._include(given)
            else:
                getattr(self, f"_{name}")(given)
        except InvalidString as error:
            raise Failed(str(error)) from None

    # Commands.

    async def _include(self, given: dict[str, bytes]) -> None:
        virtual, file, kept = given.get("virtual"), given.get("file"), given.get("set")
        if virtual is not None and file is not None:
            raise Failed(f'inclusion may be either virtual="{shown(virtual)}" or file="{shown(file)}"')
        uri = virtual if virtual is not None else file
        if uri is None:
            raise Failed('no parameter in "include" SSI command')
        if kept is not None and "stub" in given:
            raise Failed('"set" and "stub" cannot be used together in "include" SSI command')
        waits = self._waits(given, file)
        address = evaluate(uri, self._find)
        if not address and uri:  # nginx: only what is empty without variables is the directory of the page
            raise Failed('unsafe URI "" was detected')
        path, args = self._address(address)
        stub = None
        if "stub" in given:
            stub = self._state.blocks.get(given["stub"])
            if stub is None:
                raise Failed(f'"stub"="{shown(given["stub"])}" for "include" not found')
        if kept is not None:
            self._state.create(shown(kept).lower())
        if isinstance(self._request, Subrequest) and self._request.is_in_memory:
            raise Failed(f'nested in-memory subrequest "{shown_path(path)}"')
        try:
            request = Subrequest(self._request, path, args, made_by="ssi")
        except Cycle as cycle:
            raise Failed(str(cycle)) from None
        if kept is not None:
            request.is_in_memory = True
            await self._keep(Inclusion(request, self._plan.loop), kept)
            return
        if stub is not None:
            # Its error pages are not asked (nginx: ngx_http_ssi_stub_output comes before them).
            request.has_stub = request.is_error_page = True
        inclusion = Inclusion(request, self._plan.loop)
        self._parts.append(inclusion)
        self._under_way += 1
        if stub is not None:
            self._stubs[inclusion] = stub
        self._holds = waits

    def _waits(self, given: dict[str, bytes], file: bytes | None) -> bool:
        wait = given.get("wait")
        if wait is None:
            return file is not None
        if file is not None:
            raise Failed(f'"wait" cannot be used with file="{shown(file)}"')
        if wait not in (b"yes", b"no"):
            raise Failed(f'invalid value "{shown(wait)}" in the "wait" parameter')
        return wait == b"yes"

    def _address(self, uri: bytes) -> tuple[bytes, bytes | None]:
        """Return path and arguments of an include. Raises Failed."""
        if not uri.startswith(b"/"):
            uri = self._request.path[: self._request.path.rfind(b"/") + 1] + uri
        path, question, args = uri.partition(b"?")
        decoded = unquote_to_bytes(path) if b"%" in path else path
        if is_unsafe(decoded):
            raise Failed(f'unsafe URI "{shown_path(decoded + question + args)}" was detected')
        return decoded, args if question else None

    async def _keep(self, inclusion: Inclusion, name: bytes) -> None:
        """Read a whole response into a variable. Raises UpstreamFailure."""
        pieces: list[bytes] = []
        size = 0
        try:
            while piece := await inclusion.read():
                pieces.append(piece)
                size += len(piece)
                if size > MOST_IN_MEMORY:
                    text = f"too big subrequest response: {size}"
                    log_request(inclusion.request, "error", f"{text} while {SENDING}")
                    raise UpstreamFailure("error", text, SENDING)
        finally:
            inclusion.close()
        if pieces and inclusion.request.status < 300:
            self._state.variables[shown(name).lower()] = b"".join(pieces)

    def _echo(self, given: dict[str, bytes]) -> None:
        value = self._find(shown(given["var"]).lower())
        if value is None:
            value = given.get("default", b"(none)")
        if not value:
            return  # without a look at the encoding, which would hold for what follows
        encoding = given.get("encoding")
        if encoding is not None:
            encode = ENCODINGS.get(encoding)
            if encode is None:
                log_request(self._request, "error", f'unknown encoding "{shown(encoding)}" in the "echo" command while {SENDING}')
            else:
                self._encode = encode
        self._parts.append(self._encode(value))

    def _config(self, given: dict[str, bytes]) -> None:
        self._error = given.get("errmsg", self._error)
        if "timefmt" in given:
            self._time_format = given["timefmt"].decode("utf-8", "surrogateescape")

    def _set(self, given: dict[str, bytes]) -> None:
        self._state.variables[shown(given["var"]).lower()] = evaluate(given["value"], self._find)

    def _if(self, given: dict[str, bytes]) -> None:
        if self.condition != NO_IF:
            raise Failed('the "if" command inside the "if" command')
        self._choose(given["expr"])

    def _elif(self, given: dict[str, bytes]) -> None:
        if self.is_chosen:
            self.is_shown = False
        else:
            self._choose(given["expr"])

    def _choose(self, text: bytes) -> None:
        """Show the branch if its expression is true. Raises Failed, InvalidString."""
        expression = read_expression(text)
        left = evaluate(expression.left, self._find)
        if expression.right is None:
            holds = bool(left)
        else:
            right = evaluate(expression.right, self._find)
            holds = (self._matches(right, left) if expression.is_regex else left == right) is not expression.is_negated
        self.is_shown = holds
        self.is_chosen = self.is_chosen or holds
        self.condition = IN_IF

    def _matches(self, pattern: bytes, subject: bytes) -> bool:
        """Whether a regex matches; then its captures are variables. Raises Failed."""
        try:
            match = compile_regex(pattern.decode("utf-8", "surrogateescape")).search(subject)
        except ValueError as error:
            raise Failed(str(error)) from None
        if match is not None:
            self._state.capture(match)
        return match is not None

    def _else(self, given: dict[str, bytes]) -> None:
        self.is_shown = not self.is_chosen
        self.condition = IN_ELSE

    def _endif(self, given: dict[str, bytes]) -> None:
        self.is_shown, self.is_chosen, self.condition = True, False, NO_IF

    def _block(self, given: dict[str, bytes]) -> None:
        self.block = given["name"]
        self._state.blocks[self.block] = b""
        self.is_shown = False

    def _endblock(self, given: dict[str, bytes]) -> None:
        self.block = None
        self.is_shown = True

    # Variables.

    def _find(self, name: str) -> bytes | None:
        """Return the value of an SSI variable, or else of one of nginx's. name: in lower case."""
        value = self._state.find(name)
        if value is not None:
            return value
        if name in ("date_local", "date_gmt"):
            return self._date(name == "date_gmt")
        variable = self._plan.namespace.find(name) or find_builtin(name)
        return None if variable is None else variable.read(self._request)

    def _date(self, is_gmt: bool) -> bytes:
        """Return the time in the page's format. Raises Failed where that gives nothing."""
        now = self._request.client.clock.wall
        if self._time_format == "%s":
            return b"%d" % now
        at = time.gmtime(now) if is_gmt else time.localtime(now)
        text = time.strftime(self._time_format, at).encode("utf-8", "surrogateescape")
        if is_gmt:
            text = text.replace(b"UTC", b"GMT")
        if not text:
            raise Failed("")
        return text

    def close(self) -> None:
        """Give up everything that is under way."""
        for part in self._parts:
            if isinstance(part, Inclusion):
                part.close()
        self._parts.clear()
        self._items.clear()
        if self._inner is not None:
            self._inner.close()
        super().close()
