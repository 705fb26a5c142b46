r"""PCRE2 syntax to a tree (pcre2pattern(3), as of 10.42; nginx compiles without UTF mode, so a pattern is a string of bytes).

The pattern comes as Latin-1 text: one character for each byte. Flags end here: each node already says what it matches under the
flags that held where it stood. Errors carry PCRE2's words and offset, so that messages equal nginx's.

Refused, because Python's `re` has no equal: recursion and subroutine calls, branch reset, `\K`, the verbs that steer
backtracking, `\X`, `\p`, UTF mode, references to a group that is still open or comes later.
"""

from __future__ import annotations

import re

from wproxy.regex.classes import CONTROLS, POSIX, SHORTHANDS
from wproxy.regex.nodes import (
    ALL,
    EMPTY,
    NEVER,
    NEWLINE,
    WORD,
    Anchor,
    At,
    Atomic,
    BackReference,
    Capture,
    Choice,
    Greed,
    IfGroup,
    Look,
    Node,
    OneOf,
    Repeat,
    Sequence,
    byte_range,
    byte_set,
    fold_case,
)


class PatternError(ValueError):
    """PCRE2 refuses the pattern: its words and the offset (in bytes) where it stopped."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class Untranslatable(ValueError):
    """PCRE2 takes the pattern, Python's `re` cannot do it: what it is, and what to write instead."""

    def __init__(self, construct: str, advice: str) -> None:
        super().__init__(construct)
        self.construct = construct
        self.advice = advice


# Flags, by their letters in `(?imsxnU)`; XX is `xx`, DUPLICATES is `J`.
CASELESS, MULTILINE, DOTALL, EXTENDED, XX, NO_CAPTURE, UNGREEDY, DUPLICATES = (1 << bit for bit in range(8))
_LETTERS = {
    "i": CASELESS,
    "m": MULTILINE,
    "s": DOTALL,
    "x": EXTENDED,
    "n": NO_CAPTURE,
    "U": UNGREEDY,
    "J": DUPLICATES,
}
_UNSET_BY_CARET = CASELESS | MULTILINE | DOTALL | EXTENDED | XX | NO_CAPTURE

_QUANTIFIER = re.compile(r"[*+?]|\{([0-9]+)(?:(,)([0-9]*))?\}")
_QUANTIFIER_LIMIT = 65535
_DEEPEST = 101
_CLOSERS = {"<": ">", "'": "'", "{": "}"}
_SIGNED = re.compile(r"[+-]?[0-9]+")
_WHITE = " \t\n\v\f\r"

_LOOKS = {
    "=": (True, False),
    "!": (True, True),
    "<=": (False, False),
    "<!": (False, True),
    "*": (True, False),
    "<*": (False, False),
}
# The spelled-out groups, `(*pla:...)`: what they are in symbols.
_SPELLED = {
    "pla": "=",
    "positive_lookahead": "=",
    "nla": "!",
    "negative_lookahead": "!",
    "plb": "<=",
    "positive_lookbehind": "<=",
    "nlb": "<!",
    "negative_lookbehind": "<!",
    "atomic": ">",
}
_SPELLED_REFUSED = {"napla", "non_atomic_positive_lookahead", "naplb", "non_atomic_positive_lookbehind"}
_SCRIPT_RUNS = {"sr", "script_run", "asr", "atomic_script_run"}
_VERBS = {"ACCEPT", "COMMIT", "PRUNE", "SKIP", "THEN", "MARK", ""}
_VERB = re.compile(r"\(\*([A-Za-z_]*)(:[^)]*)?")
# At the very start: what changes nothing for us, and what would.
_START = re.compile(r"\(\*([A-Z0-9_]+)(=[0-9]+)?\)")
_HARMLESS = {"NO_JIT", "NO_START_OPT", "NO_AUTO_POSSESS", "NO_DOTSTAR_ANCHOR", "LF", "BSR_UNICODE"}
_HARMLESS_LIMITS = {"LIMIT_MATCH", "LIMIT_DEPTH", "LIMIT_HEAP", "LIMIT_RECURSION"}
_CHANGING = {"UTF", "UTF8", "UCP", "CR", "CRLF", "ANYCRLF", "ANY", "NUL", "BSR_ANYCRLF", "NOTEMPTY", "NOTEMPTY_ATSTART"}

_POSIX = re.compile(r"\[([:.=])(\^?)((?:\\[\\\]]|\[(?![:.=])|[^\\\]\[])*?)\1\]")
_WORD_EDGES = {"[[:<:]]": True, "[[:>:]]": False}

_ANCHORS = {"A": Anchor.SUBJECT_START, "G": Anchor.SUBJECT_START, "Z": Anchor.LAST_LINE_END, "z": Anchor.SUBJECT_END}
_EDGES = {"b": Anchor.WORD_EDGE, "B": Anchor.NO_WORD_EDGE}
_NEWLINE_SEQUENCE = Atomic(Choice((Sequence((OneOf(1 << 13), OneOf(1 << 10))), OneOf(byte_set(b"\n\v\f\r\x85")))))


class Parser:
    """One pass over a pattern; `parse` gives the tree, `names` and `groups` the capture groups."""

    def __init__(self, text: str, caseless: bool = False) -> None:
        self.text = text
        self.at = 0
        self.flags = CASELESS if caseless else 0
        self.groups = 0
        self.names: dict[str, int] = {}
        self._open: list[int] = []
        self._depth = 0
        # References that must exist once all groups are known: number or name, offset of the complaint.
        self._references: list[tuple[int | str, int]] = []
        self._looks: list[Look] = []
        self._quoting = False
        self._refusal: Untranslatable | None = None

    def parse(self) -> Node:
        """The tree. Raises PatternError or Untranslatable; the former first, whatever the order in the pattern."""
        self._start_options()
        tree = self._choice()
        if self.at < len(self.text):
            raise PatternError("unmatched closing parenthesis", self.at)
        for look in self._looks:
            branches = look.body.branches if isinstance(look.body, Choice) else (look.body,)
            if any(width_of(branch) is None for branch in branches):
                raise PatternError("lookbehind assertion is not fixed length", look.offset)
        for reference, offset in self._references:
            if (reference not in self.names) if isinstance(reference, str) else not 0 < reference <= self.groups:
                raise PatternError("reference to non-existent subpattern", offset)
        if self._refusal:
            raise self._refusal
        return tree

    # The grammar.

    def _choice(self) -> Node:
        """Branches up to a closing parenthesis or the end; flags set inside hold to the end of the last branch."""
        self._depth += 1
        if self._depth > _DEEPEST:
            # PCRE2 allows 250; the compiler of `re` and our own walks recurse, and stop at fewer.
            raise Untranslatable(f"more than {_DEEPEST - 1} parentheses within each other", "write it flatter")
        branches = [self._branch()]
        while self._take("|"):
            branches.append(self._branch())
        self._depth -= 1
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _branch(self) -> Node:
        items: list[Node] = []
        repeatable = False
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char in "|)":
                break
            if self._skip_filler():
                continue
            quantifier = _QUANTIFIER.match(text, self.at) if char in "*+?{" else None
            if quantifier:
                repeat = self._repeat(quantifier, repeatable, items)
                items[-1] = repeat
                repeatable = False
                continue
            before = len(items)
            if char == "\\" and text.startswith("\\Q", self.at):
                items += self._quoted()
                repeatable = len(items) > before or repeatable
                continue
            node = self._item(char)
            if node is None:
                repeatable = False
                continue
            items.append(node)
            repeatable = not isinstance(node, At) and node != NEVER
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def _skip_filler(self) -> bool:
        r"""Pass over a lone `\E`, a comment, and white space where `x` holds."""
        text, at = self.text, self.at
        if text.startswith("\\E", at):
            self.at += 2
        elif text.startswith("(?#", at):
            end = text.find(")", at)
            if end < 0:
                raise PatternError("missing ) after (?# comment", len(text))
            self.at = end + 1
        elif self.flags & EXTENDED and text[at] in _WHITE:
            self.at += 1
        elif self.flags & EXTENDED and text[at] == "#":
            end = text.find("\n", at)
            self.at = len(text) if end < 0 else end + 1
        else:
            return False
        return True

    def _repeat(self, quantifier: re.Match[str], repeatable: bool, items: list[Node]) -> Repeat:
        self.at = quantifier.end()
        sign = quantifier[0]
        if sign in "*+?":
            least, most = int(sign == "+"), 1 if sign == "?" else None
        else:
            least = int(quantifier[1])
            if least > _QUANTIFIER_LIMIT:
                raise PatternError("number too big in {} quantifier", min(quantifier.end(1), quantifier.start(1) + 5))
            most = least
            if quantifier[2]:
                most = int(quantifier[3]) if quantifier[3] else None
                if most is not None and most > _QUANTIFIER_LIMIT:
                    raise PatternError("number too big in {} quantifier", min(quantifier.end(3), quantifier.start(3) + 5))
                if most is not None and most < least:
                    raise PatternError("numbers out of order in {} quantifier", quantifier.end(3))
        if not repeatable:
            raise PatternError("quantifier does not follow a repeatable item", self.at - 1)
        greed = Greed.LAZY if self.flags & UNGREEDY else Greed.GREEDY
        if self._take("+"):
            greed = Greed.POSSESSIVE
        elif self._take("?"):
            greed = Greed.GREEDY if self.flags & UNGREEDY else Greed.LAZY
        return Repeat(items[-1], least, most, greed)

    def _item(self, char: str) -> Node | None:
        """The next thing that is not filler or a quantifier; None for what matches nothing of its own (flags, callouts)."""
        if char == "(":
            return self._parenthesis()
        if char == "\\":
            return self._escape()
        if char == "[":
            return self._class()
        self.at += 1
        if char == ".":
            return OneOf(ALL if self.flags & DOTALL else ALL & ~NEWLINE)
        if char == "^":
            return At(Anchor.LINE_START if self.flags & MULTILINE else Anchor.SUBJECT_START)
        if char == "$":
            return At(Anchor.LINE_END if self.flags & MULTILINE else Anchor.LAST_LINE_END)
        return self._literal(ord(char))

    def _literal(self, byte: int) -> OneOf:
        return OneOf(fold_case(1 << byte) if self.flags & CASELESS else 1 << byte)

    def _quoted(self) -> list[Node]:
        r"""The bytes of `\Q...\E`; without `\E` up to the end."""
        end = self.text.find("\\E", self.at + 2)
        content = self.text[self.at + 2 : end if end >= 0 else len(self.text)]
        self.at = end + 2 if end >= 0 else len(self.text)
        return [self._literal(ord(char)) for char in content]

    # Parentheses.

    def _parenthesis(self) -> Node | None:
        text, start = self.text, self.at
        if text.startswith("(*", start) and text[start + 2 : start + 3] not in ("", ")"):
            return self._verb()
        self.at += 1
        if not self._take("?"):
            return self._group(capture=not self.flags & NO_CAPTURE)
        for sign in ("<=", "<!", "<*", "=", "!", "*"):
            if self._take(sign):
                return self._look(sign, start)
        if self._take(":"):
            return Sequence((self._body(),))
        if self._take(">"):
            return Atomic(self._body())
        if self._take("|"):
            self._refuse("branch reset (?|...)", "give each branch its own groups, or write one regex for each")
            return Sequence((self._body(),))
        if self._take("("):
            return self._condition(start)
        if self._take("C"):
            self._callout()
            return None
        if self.text.startswith(("P<", "<", "'"), self.at):
            self._take("P")
            return self._group(capture=True, name=self._name(_CLOSERS[self._next()]))
        if self._take("P="):
            return self._named_reference(self._name(")"))
        if self._take("&") or self._take("P>"):
            name = self._name(")")
            self._references.append((name, self.at - 1 - len(name)))
            return self._refuse("a subroutine call", f'write the group "{name}" out again')
        if self._take("P"):
            raise PatternError("unrecognized character after (?P", self.at)
        if self._take("R"):
            if not self._take(")"):
                raise PatternError("(?R (recursive pattern call) must be followed by a closing parenthesis", self.at)
            return self._refuse("recursion (?R)", "write the nesting out as deep as it is needed")
        call = _SIGNED.match(text, self.at)
        if call:
            return self._call(call)
        return self._options()

    def _group(self, capture: bool, name: str = "") -> Node:
        """Body and closing parenthesis of a group; its flags end with it."""
        number = 0
        if capture:
            self.groups += 1
            number = self.groups
            if name:
                if name in self.names:
                    if not self.flags & DUPLICATES:
                        reason = "two named subpatterns have the same name (PCRE2_DUPNAMES not set)"
                        raise PatternError(reason, self.at)
                    self._refuse("two groups of one name (?J)", "give each its own name")
                self.names[name] = number
            self._open.append(number)
        body = self._body()
        if not capture:
            return Sequence((body,))
        self._open.pop()
        return Capture(body, number, name)

    def _body(self) -> Node:
        """What stands up to the closing parenthesis, which is taken; flags set inside end with it."""
        flags = self.flags
        body = self._choice()
        self.flags = flags
        if not self._take(")"):
            raise PatternError("missing closing parenthesis", len(self.text))
        return body

    def _look(self, sign: str, start: int) -> Node:
        ahead, negative = _LOOKS[sign]
        if "*" in sign:
            self._refuse("a non-atomic assertion (?*...)", "write (?=...) or (?<=...)")
        body = self._body()
        look = Look(body, ahead, negative, start)
        if not ahead:
            self._looks.append(look)
        return look

    def _condition(self, start: int) -> Node:
        """`(?(...)yes|no)`; the parenthesis of the condition is open."""
        offset = self.at - 1
        if self.text.startswith(("?=", "?!", "?<=", "?<!", "*"), self.at):
            self.at -= 1
            groups = self.groups
            test = self._parenthesis()
            if not isinstance(test, Look):
                raise PatternError("atomic assertion expected after (?( or (?(?C)", self.at)
            if self.groups > groups:
                self._refuse("a condition that captures", "write two regexes")
            yes, no = self._two_branches(start)
            other = Look(test.body, test.ahead, not test.negative, test.offset)
            return Choice((Sequence((test, yes)), Sequence((other, no))))
        number = self._condition_group(offset)
        yes, no = self._two_branches(start)
        return IfGroup(number, yes, no)

    def _condition_group(self, offset: int) -> int:
        """The number of the group that is asked for."""
        digits = _SIGNED.match(self.text, self.at)
        if digits:
            self.at = digits.end()
            number = self._relative(digits[0])
            self._references.append((number, offset))
            if not self._take(")"):
                raise PatternError("missing closing parenthesis for condition", self.at)
        else:
            if not self._next():
                raise PatternError("missing closing parenthesis", self.at)
            special = re.compile(r"R(?:[0-9]*|&\w*)\)|DEFINE\)|VERSION>?=[0-9.]+\)").match(self.text, self.at)
            if special and special[0][:-1] not in self.names:
                self.at = special.end()
                self._refuse(f"the condition ({special[0]}", "write the regex without it")
                return 0
            closer = _CLOSERS.get(self._next(), "") if self._next() in "<'" else ""
            name = self._name(closer or ")")
            self._references.append((name, self.at - len(name) - 1))
            if closer and not self._take(")"):
                raise PatternError("missing closing parenthesis for condition", self.at)
            number = self.names.get(name, 0)
        if number > self.groups:
            self._refuse("a condition on a group that comes later", "put the group before it")
        return number

    def _two_branches(self, start: int) -> tuple[Node, Node]:
        body = self._body()
        branches = body.branches if isinstance(body, Choice) else (body, EMPTY)
        if len(branches) > 2:
            raise PatternError("conditional subpattern contains more than two branches", start)
        return branches[0], branches[1]

    def _call(self, call: re.Match[str]) -> Node:
        """`(?1)`, `(?-1)`, `(?+1)`: a subroutine."""
        self.at = call.end()
        if call[0] in ("-0", "+0"):
            raise PatternError("a relative value of zero is not allowed", self.at)
        number = self._relative(call[0])
        if not self._take(")"):
            raise PatternError("(?R (recursive pattern call) must be followed by a closing parenthesis", self.at)
        if number:
            self._references.append((number, self.at - 1))
        return self._refuse(f"recursion (?{call[0]})", "write the group out again, as deep as it is needed")

    def _callout(self) -> None:
        """`(?C)`, `(?C1)`, `(?C'text')`: nobody listens."""
        digits = re.compile("[0-9]*").match(self.text, self.at)
        assert digits
        opener = self._next()
        if not digits[0] and opener and opener in "`'\"^%#${":
            closer = "}" if opener == "{" else opener
            end = self.text.find(closer, self.at + 1)
            if end < 0:
                raise PatternError("missing terminating delimiter for callout with string argument", self.at)
            self.at = end + 1
        else:
            self.at = digits.end()
            if digits[0] and int(digits[0]) > 255:
                raise PatternError("number after (?C is greater than 255", self.at)
        if not self._take(")"):
            raise PatternError("closing parenthesis for (?C expected", self.at)

    def _options(self) -> Node | None:
        """`(?i-s)` for what follows in this group, `(?i-s:...)` for its own body, `(?^...)` from nothing."""
        text = self.text
        flags, on, may_hyphen = self.flags, True, True
        if self._take("^"):
            flags &= ~_UNSET_BY_CARET
            may_hyphen = False
        while True:
            if self.at == len(text):
                raise PatternError("missing closing parenthesis", self.at)
            char = text[self.at]
            self.at += 1
            if char in ":)":
                break
            if char == "-":
                if not may_hyphen:
                    raise PatternError("invalid hyphen in option setting", self.at - 1)
                on = may_hyphen = False
                continue
            bit = _LETTERS.get(char)
            if bit is None:
                raise PatternError("unrecognized character after (? or (?-", self.at - 1)
            if char == "x":
                flags &= ~XX
                bit |= XX if self._take("x") or not on else 0
            flags = flags | bit if on else flags & ~bit
        if char == ")":
            self.flags = flags
            return None
        outer, self.flags = self.flags, flags
        body = self._body()
        self.flags = outer
        return Sequence((body,))

    def _verb(self) -> Node | None:
        """`(*FAIL)`, `(*pla:...)`; verbs that steer backtracking are refused."""
        start = self.at
        verb = _VERB.match(self.text, start)
        assert verb
        name = verb[1]
        if name[:1].islower():
            self.at = start + 2 + len(name)
            if name in _SPELLED and self._take(":"):
                symbol = _SPELLED[name]
                return Atomic(self._body()) if symbol == ">" else self._look(symbol, start)
            if name in _SPELLED_REFUSED | _SCRIPT_RUNS and self._take(":"):
                self._refuse(f"(*{name}:...)", "write (?=...), (?<=...) or a plain group")
                return Sequence((self._body(),))
            raise PatternError("(*alpha_assertion) not recognized", self.at)
        self.at = verb.end()
        known = name in _VERBS or name in ("F", "FAIL") if name or verb[2] else False
        if not known or self._next() != ")":
            raise PatternError("(*VERB) not recognized or malformed", self.at)
        self.at += 1
        if name in ("F", "FAIL"):
            return NEVER
        self._refuse(f"the verb {self.text[start : self.at]}", "use an atomic group (?>...) or a lookahead")
        return None

    def _start_options(self) -> None:
        while option := _START.match(self.text, self.at):
            if option[1] in _CHANGING and not option[2]:
                advice = "write the pattern without it: it is matched byte by byte"
                self._refuse(f"the option {option[0]}", advice)
            elif option[1] not in (_HARMLESS_LIMITS if option[2] else _HARMLESS):
                return
            self.at = option.end()

    # Escapes.

    def _escape(self) -> Node:
        self.at += 1
        char = self._next()
        if not char:
            raise PatternError("\\ at end of pattern", self.at)
        if char.isascii() and char in "123456789":
            reference = self._numbered_escape()
            if reference:
                return reference
        elif char in SHORTHANDS and char != "N":
            self.at += 1
            return OneOf(SHORTHANDS[char])
        elif char in _ANCHORS or char in _EDGES:
            self.at += 1
            return At(_ANCHORS.get(char) or _EDGES[char])
        elif char in "NRCXKpPgk":
            self.at += 1
            return self._special_escape(char)
        return self._literal(self._character())

    def _numbered_escape(self) -> Node | None:
        r"""`\1`: a reference, unless it reads as the code of a character: 10 and up, without so many groups before it."""
        digits = re.compile("[0-9]+").match(self.text, self.at)
        assert digits
        number = int(digits[0])
        if number < 10 or digits[0][0] in "89" or number <= self.groups:
            self.at = digits.end()
            return self._reference(number, self.at - 1)
        return None

    def _special_escape(self, char: str) -> Node:
        if char == "N":
            if self._next() == "{" and not _QUANTIFIER.match(self.text, self.at):
                if self.text.startswith("{U+", self.at):
                    raise PatternError("\\N{U+dddd} is supported only in Unicode (UTF) mode", self.at)
                raise PatternError("PCRE2 does not support \\F, \\L, \\l, \\N{name}, \\U, or \\u", self.at)
            return OneOf(SHORTHANDS["N"])
        if char == "R":
            return _NEWLINE_SEQUENCE
        if char == "C":
            return OneOf(ALL)
        if char == "K":
            self._refuse("\\K", "put what comes before it into a lookbehind or a group")
            return At(Anchor.SUBJECT_START)
        if char == "X":
            return self._refuse("\\X", "write a class of bytes")
        if char in "pP":
            return self._property()
        if char == "g":
            return self._g_reference()
        closer = _CLOSERS.get(self._next())
        if not closer:
            raise PatternError("\\k is not followed by a braced, angle-bracketed, or quoted name", self.at)
        return self._named_reference(self._name(closer))

    def _property(self) -> Node:
        name = re.compile(r"\{\^?[\w &=:]+\}|[A-Za-z]").match(self.text, self.at)
        if not name:
            raise PatternError("malformed \\P or \\p sequence", min(self.at + 1, len(self.text)))
        self.at = name.end()
        return self._refuse(f"\\p{name[0]}", "write a class of bytes such as [A-Za-z\\x80-\\xff]")

    def _g_reference(self) -> Node:
        r"""`\g1 \g-1 \g{1} \g{-1} \g{name}`; `\g<...>` and `\g'...'` are calls."""
        opener = self._next()
        if opener and opener in "<'":
            closer = _CLOSERS[opener]
            number = re.compile(r"[+-]?[0-9]+" + re.escape(closer)).match(self.text, self.at + 1)
            if number:
                self.at = number.end()
                self._references.append((self._relative(number[0][:-1]), self.at - 1))
            else:
                name = self._name(closer)
                self._references.append((name, self.at - len(name) - 1))
            return self._refuse("a subroutine call \\g<...>", "write the group out again")
        braced = opener == "{"
        digits = _SIGNED.match(self.text, self.at + braced)
        if digits:
            self.at = digits.end()
            relative = self._relative(digits[0])
            if braced and not self._take("}"):
                reason = "\\g is not followed by a braced, angle-bracketed, or quoted name/number or by a plain number"
                raise PatternError(reason, self.at)
            if relative <= 0:
                raise PatternError("reference to non-existent subpattern", digits.start() - 1 if braced and relative else self.at)
            return self._reference(relative, self.at - 1)
        if not braced:
            reason = "\\g is not followed by a braced, angle-bracketed, or quoted name/number or by a plain number"
            raise PatternError(reason, self.at)
        return self._named_reference(self._name("}"))

    def _named_reference(self, name: str) -> Node:
        offset = self.at - 1 - len(name)
        if name not in self.names:
            self._references.append((name, offset))
            return self._refuse("a reference to a group that comes later", "put the group before it")
        return self._reference(self.names[name], offset)

    def _reference(self, number: int, offset: int) -> Node:
        self._references.append((number, offset))
        if number > self.groups:
            return self._refuse("a reference to a group that comes later", "put the group before it")
        if number in self._open:
            return self._refuse("a reference to the group it stands in", "write the repetition out")
        return BackReference(number, bool(self.flags & CASELESS))

    def _relative(self, digits: str) -> int:
        """A number that may be counted from here: `-1` the group before, `+1` the next one."""
        if digits[0] == "-":
            number = self.groups + 1 + int(digits)
            return number if number > 0 else -1
        return self.groups + int(digits) if digits[0] == "+" else int(digits)

    def _character(self) -> int:
        """The byte that an escape stands for; the backslash is behind us."""
        text, start = self.text, self.at
        char = self._next()
        self.at += 1
        if not (char.isascii() and char.isalnum()):
            return ord(char)
        if char in CONTROLS:
            return CONTROLS[char]
        if char in "01234567":
            digits = re.compile("[0-7]{1,3}").match(text, start)
            assert digits
            self.at = digits.end()
            value = int(digits[0], 8)
            if value > 255:
                raise PatternError("octal value is greater than \\377 in 8-bit non-UTF-8 mode", self.at)
            return value
        if char == "x":
            if self._take("{"):
                return self._braced("[0-9A-Fa-f]*", 16, "non-hex character in \\x{} (closing brace missing?)")
            digits = re.compile("[0-9A-Fa-f]{0,2}").match(text, self.at)
            assert digits
            self.at = digits.end()
            return int(digits[0] or "0", 16)
        if char == "o":
            if not self._take("{"):
                raise PatternError("missing opening brace after \\o", min(self.at, len(self.text) - 1))
            return self._braced("[0-7]*", 8, "non-octal character in \\o{} (closing brace missing?)")
        if char == "c":
            return self._control()
        if char in "FLlUu":
            raise PatternError("PCRE2 does not support \\F, \\L, \\l, \\N{name}, \\U, or \\u", self.at)
        raise PatternError("unrecognized character follows \\", start)

    def _braced(self, digit: str, base: int, reason: str) -> int:
        digits = re.compile(digit).match(self.text, self.at)
        assert digits
        if not digits[0] and self._next() in ("", "}"):
            raise PatternError("digits missing in \\x{} or \\o{} or \\N{U+}", self.at)
        if digits[0] and int(digits[0], base) > 255:
            raise PatternError("character code point value in \\x{} or \\o{} is too large", digits.end())
        self.at = digits.end()
        if not self._take("}"):
            raise PatternError(reason, self.at if self.at < len(self.text) else self.at - 1)
        return int(digits[0], base)

    def _control(self) -> int:
        char = self._next()
        if not char:
            raise PatternError("\\c at end of pattern", self.at)
        if not " " <= char <= "~":
            raise PatternError("\\c must be followed by a printable ASCII character", self.at)
        self.at += 1
        return ord(char.upper()) ^ 0x40

    # Classes.

    def _class(self) -> Node:
        text, start = self.text, self.at
        for edge, ahead in _WORD_EDGES.items():
            if text.startswith(edge, start):
                self.at += len(edge)
                return Sequence((At(Anchor.WORD_EDGE), Look(OneOf(WORD), ahead, False, start)))
        if posix := _POSIX.match(text, start):
            if posix[1] == ":":
                raise PatternError("POSIX named classes are supported only within a class", start)
            raise PatternError("POSIX collating elements are not supported", start)
        self.at += 1
        negated = self._take("^")
        mask, first = 0, True
        self._quoting = False
        while True:
            self._class_quotes()
            if self.at >= len(text):
                raise PatternError("missing terminating ] for character class", self.at)
            if text[self.at] == "]" and not first and not self._quoting:
                self.at += 1
                break
            if self.flags & XX and not self._quoting and text[self.at] in " \t":
                self.at += 1
                continue
            first = False
            mask |= self._member()
        if self.flags & CASELESS:
            mask = fold_case(mask)
        return OneOf(ALL & ~mask if negated else mask)

    def _class_quotes(self) -> None:
        r"""Pass over `\Q` and `\E` and remember which came last."""
        while True:
            if self._take("\\E"):
                self._quoting = False
            elif self._quoting or not self._take("\\Q"):
                return
            else:
                self._quoting = True

    def _member(self) -> int:
        """A byte, a range or a named set, as a set."""
        text = self.text
        low = self._class_atom()
        self._class_quotes()
        hyphen = not self._quoting and text.startswith("-", self.at)
        if isinstance(low, tuple):
            if hyphen and text[self.at + 1 : self.at + 2] not in ("]", ""):
                raise PatternError("invalid range in character class", self.at)
            return low[0]
        if not hyphen:
            return 1 << low
        self.at += 1
        self._class_quotes()
        if text.startswith("]", self.at) and not self._quoting:
            return 1 << low | 1 << 0x2D
        if self.at >= len(text):
            raise PatternError("missing terminating ] for character class", self.at)
        start = self.at
        high = self._class_atom()
        if isinstance(high, tuple):
            raise PatternError("invalid range in character class", start + 1 if text[start] == "[" else self.at)
        if high < low:
            raise PatternError("range out of order in character class", self.at - 1)
        return byte_range(low, high)

    def _class_atom(self) -> int | tuple[int]:
        """One byte as a number, or a set as a tuple of one."""
        text = self.text
        char = text[self.at]
        if not self._quoting and char == "[" and (posix := _POSIX.match(text, self.at)):
            return (self._posix(posix),)
        if self._quoting or char != "\\":
            self.at += 1
            return ord(char)
        self.at += 1
        char = self._next()
        if not char:
            raise PatternError("\\ at end of pattern", self.at)
        if char == "N":
            raise PatternError("\\N is not supported in a class", self.at + 1)
        if char in SHORTHANDS:
            self.at += 1
            return (SHORTHANDS[char],)
        if char in "pP":
            self.at += 1
            self._property()
            return (0,)
        if char in "BRX":
            raise PatternError("escape sequence is invalid in character class", self.at)
        if char == "b":
            self.at += 1
            return 8
        if char in "89g":
            self.at += 1
            return ord(char)
        return self._character()

    def _posix(self, posix: re.Match[str]) -> int:
        if posix[1] != ":":
            raise PatternError("POSIX collating elements are not supported", self.at)
        mask = POSIX.get(posix[3])
        if mask is None:
            raise PatternError("unknown POSIX class name", posix.start(3))
        self.at = posix.end()
        if self.flags & CASELESS:
            mask = fold_case(mask)
        return ALL & ~mask if posix[2] else mask

    # Reading.

    def _next(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self, expected: str) -> bool:
        if self.text.startswith(expected, self.at):
            self.at += len(expected)
            return True
        return False

    def _name(self, closer: str) -> str:
        """The name of a group, after one opening character and with its closing one."""
        text = self.text
        if closer != ")":
            self.at += 1
        start = self.at
        while self.at < len(text) and ord(text[self.at]) < 128 and WORD >> ord(text[self.at]) & 1:
            self.at += 1
        name = text[start : self.at]
        if not name:
            raise PatternError("subpattern name expected", start)
        if name[0].isdigit():
            raise PatternError("subpattern name must start with a non-digit", start)
        if len(name) > 32:
            raise PatternError("subpattern name is too long (maximum 32 code units)", self.at)
        if not self._take(closer):
            raise PatternError("syntax error in subpattern name (missing terminator?)", self.at)
        return name

    def _refuse(self, construct: str, advice: str) -> OneOf:
        """Note what cannot be translated and read on: an error of PCRE2's own goes first."""
        if self._refusal is None:
            self._refusal = Untranslatable(construct, advice)
        return OneOf(ALL)


def width_of(node: Node) -> int | None:
    """How many bytes a node always takes; None when that varies (PCRE2 10.42's rule for lookbehinds)."""
    match node:
        case OneOf():
            return 1
        case At() | Look():
            return 0
        case Sequence(items):
            widths = [width_of(item) for item in items]
            return None if None in widths else sum(width for width in widths if width is not None)
        case Choice(branches):
            found = {width_of(branch) for branch in branches}
            return found.pop() if len(found) == 1 else None
        case Capture(body) | Atomic(body):
            return width_of(body)
        case Repeat(Look()):
            return 0
        case Repeat(body, least, most):
            width = width_of(body)
            return width * least if width is not None and least == most else None
        case IfGroup(_, yes, no):
            return width_of(yes) if width_of(yes) == width_of(no) else None
        case BackReference():
            return 0  # PCRE2 takes the width of the group; Python's compiler checks that
