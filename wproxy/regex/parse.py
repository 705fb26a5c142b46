r"""PCRE2 syntax to a tree (pcre2pattern(3), as of 10.42; nginx compiles without UTF mode, so a pattern is a string of bytes).

The pattern is Latin-1 text: one character for each byte. Flags are resolved here: each node already says what it matches under
the flags at its place. Errors carry PCRE2's words and offset, so that messages equal nginx's.

Refused, because Python's `re` has no equivalent: recursion and subroutine calls, branch reset, `\K`, the verbs that steer
backtracking, `\X`, `\p`, UTF mode, references to a group that is still open or comes later.
"""

from __future__ import annotations

import re

from wproxy.regex.character_class import read_class
from wproxy.regex.escapes import read_escape
from wproxy.regex.nodes import (
    ALL,
    EMPTY,
    NEVER,
    NEWLINE,
    Anchor,
    At,
    Atomic,
    Capture,
    Choice,
    Greed,
    IfGroup,
    Look,
    Node,
    OneOf,
    Repeat,
    Sequence,
)
from wproxy.regex.parentheses import read_call, read_condition_group, read_flags, read_start_options, skip_callout
from wproxy.regex.pattern import (
    CLOSERS,
    DOTALL,
    DUPLICATES,
    EXTENDED,
    MULTILINE,
    NO_CAPTURE,
    QUANTIFIER,
    SIGNED,
    UNGREEDY,
    Pattern,
    PatternError,
    Untranslatable,
)
from wproxy.regex.widths import width_of

_QUANTIFIER_LIMIT = 65535
_DEEPEST = 101
_WHITE = " \t\n\v\f\r"

_LOOKS = {
    "=": (True, False),
    "!": (True, True),
    "<=": (False, False),
    "<!": (False, True),
    "*": (True, False),
    "<*": (False, False),
}
# The spelled-out groups, `(*pla:...)`, and their symbols.
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


class Parser(Pattern):
    """One pass over a pattern; `parse` returns the tree, `names` and `groups` are the capture groups."""

    def __init__(self, text: str, caseless: bool = False) -> None:
        super().__init__(text, caseless)
        self._depth = 0
        self._looks: list[Look] = []

    def parse(self) -> Node:
        """Return the tree. Raises PatternError or Untranslatable; the former first, whatever the order in the pattern."""
        read_start_options(self)
        tree = self._choice()
        if self.at < len(self.text):
            raise PatternError("unmatched closing parenthesis", self.at)
        for look in self._looks:
            branches = look.body.branches if isinstance(look.body, Choice) else (look.body,)
            if any(width_of(branch) is None for branch in branches):
                raise PatternError("lookbehind assertion is not fixed length", look.offset)
        for reference, offset in self.references:
            if (reference not in self.names) if isinstance(reference, str) else not 0 < reference <= self.groups:
                raise PatternError("reference to non-existent subpattern", offset)
        if self.refusal:
            raise self.refusal
        return tree

    # The grammar.

    def _choice(self) -> Node:
        """Read branches up to a closing parenthesis or the end; flags set inside hold to the end of the last branch."""
        self._depth += 1
        if self._depth > _DEEPEST:
            # PCRE2 allows 250; the compiler of `re` and our own tree walks recurse, and allow fewer.
            raise Untranslatable(f"more than {_DEEPEST - 1} parentheses within each other", "write it flatter")
        branches = [self._branch()]
        while self.take("|"):
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
            quantifier = QUANTIFIER.match(text, self.at) if char in "*+?{" else None
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
        r"""Skip a lone `\E`, a comment, and white space under `x`."""
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
        if self.take("+"):
            greed = Greed.POSSESSIVE
        elif self.take("?"):
            greed = Greed.GREEDY if self.flags & UNGREEDY else Greed.LAZY
        return Repeat(items[-1], least, most, greed)

    def _item(self, char: str) -> Node | None:
        """Return the next node that is not filler or a quantifier; None for items that match nothing themselves (flags,
        callouts).
        """
        if char == "(":
            return self._parenthesis()
        if char == "\\":
            return read_escape(self)
        if char == "[":
            return read_class(self)
        self.at += 1
        if char == ".":
            return OneOf(ALL if self.flags & DOTALL else ALL & ~NEWLINE)
        if char == "^":
            return At(Anchor.LINE_START if self.flags & MULTILINE else Anchor.SUBJECT_START)
        if char == "$":
            return At(Anchor.LINE_END if self.flags & MULTILINE else Anchor.LAST_LINE_END)
        return self.literal(ord(char))

    def _quoted(self) -> list[Node]:
        r"""Return the bytes of `\Q...\E`; without `\E` up to the end."""
        end = self.text.find("\\E", self.at + 2)
        content = self.text[self.at + 2 : end if end >= 0 else len(self.text)]
        self.at = end + 2 if end >= 0 else len(self.text)
        return [self.literal(ord(char)) for char in content]

    # Parentheses.

    def _parenthesis(self) -> Node | None:
        text, start = self.text, self.at
        if text.startswith("(*", start) and text[start + 2 : start + 3] not in ("", ")"):
            return self._verb()
        self.at += 1
        if not self.take("?"):
            return self._group(capture=not self.flags & NO_CAPTURE)
        for sign in ("<=", "<!", "<*", "=", "!", "*"):
            if self.take(sign):
                return self._look(sign, start)
        if self.take(":"):
            return Sequence((self._body(),))
        if self.take(">"):
            return Atomic(self._body())
        if self.take("|"):
            self.refuse("branch reset (?|...)", "give each branch its own groups, or write one regex for each")
            return Sequence((self._body(),))
        if self.take("("):
            return self._condition(start)
        if self.take("C"):
            skip_callout(self)
            return None
        if self.text.startswith(("P<", "<", "'"), self.at):
            self.take("P")
            return self._group(capture=True, name=self.take_name(CLOSERS[self.peek()]))
        if self.take("P="):
            return self.named_reference(self.take_name(")"))
        if self.take("&") or self.take("P>"):
            name = self.take_name(")")
            self.references.append((name, self.at - 1 - len(name)))
            return self.refuse("a subroutine call", f'write the group "{name}" out again')
        if self.take("P"):
            raise PatternError("unrecognized character after (?P", self.at)
        if self.take("R"):
            if not self.take(")"):
                raise PatternError("(?R (recursive pattern call) must be followed by a closing parenthesis", self.at)
            return self.refuse("recursion (?R)", "write the nesting out as deep as it is needed")
        call = SIGNED.match(text, self.at)
        if call:
            return read_call(self, call)
        return self._options()

    def _group(self, capture: bool, name: str = "") -> Node:
        """Read body and closing parenthesis of a group; its flags end with it."""
        number = 0
        if capture:
            self.groups += 1
            number = self.groups
            if name:
                if name in self.names:
                    if not self.flags & DUPLICATES:
                        reason = "two named subpatterns have the same name (PCRE2_DUPNAMES not set)"
                        raise PatternError(reason, self.at)
                    self.refuse("two groups of one name (?J)", "give each its own name")
                self.names[name] = number
            self.open_groups.append(number)
        body = self._body()
        if not capture:
            return Sequence((body,))
        self.open_groups.pop()
        return Capture(body, number, name)

    def _body(self) -> Node:
        """Read up to and including the closing parenthesis; flags set inside end with it."""
        flags = self.flags
        body = self._choice()
        self.flags = flags
        if not self.take(")"):
            raise PatternError("missing closing parenthesis", len(self.text))
        return body

    def _look(self, sign: str, start: int) -> Node:
        ahead, negative = _LOOKS[sign]
        if "*" in sign:
            self.refuse("a non-atomic assertion (?*...)", "write (?=...) or (?<=...)")
        body = self._body()
        look = Look(body, ahead, negative, start)
        if not ahead:
            self._looks.append(look)
        return look

    def _condition(self, start: int) -> Node:
        """Read `(?(...)yes|no)` after the parenthesis that opens the condition."""
        offset = self.at - 1
        if self.text.startswith(("?=", "?!", "?<=", "?<!", "*"), self.at):
            self.at -= 1
            groups = self.groups
            test = self._parenthesis()
            if not isinstance(test, Look):
                raise PatternError("atomic assertion expected after (?( or (?(?C)", self.at)
            if self.groups > groups:
                self.refuse("a condition that captures", "write two regexes")
            yes, no = self._two_branches(start)
            other = Look(test.body, test.ahead, not test.negative, test.offset)
            return Choice((Sequence((test, yes)), Sequence((other, no))))
        number = read_condition_group(self, offset)
        yes, no = self._two_branches(start)
        return IfGroup(number, yes, no)

    def _two_branches(self, start: int) -> tuple[Node, Node]:
        body = self._body()
        branches = body.branches if isinstance(body, Choice) else (body, EMPTY)
        if len(branches) > 2:
            raise PatternError("conditional subpattern contains more than two branches", start)
        return branches[0], branches[1]

    def _options(self) -> Node | None:
        """Read `(?i-s)` for the rest of this group, `(?i-s:...)` for its own body, or `(?^...)`, which starts from no flags."""
        flags, end = read_flags(self)
        outer, self.flags = self.flags, flags
        if end == ")":
            return None
        body = self._body()
        self.flags = outer
        return Sequence((body,))

    def _verb(self) -> Node | None:
        """Read `(*FAIL)` or `(*pla:...)`; verbs that steer backtracking are refused."""
        start = self.at
        verb = _VERB.match(self.text, start)
        assert verb
        name = verb[1]
        if name[:1].islower():
            self.at = start + 2 + len(name)
            if name in _SPELLED and self.take(":"):
                symbol = _SPELLED[name]
                return Atomic(self._body()) if symbol == ">" else self._look(symbol, start)
            if name in _SPELLED_REFUSED | _SCRIPT_RUNS and self.take(":"):
                self.refuse(f"(*{name}:...)", "write (?=...), (?<=...) or a plain group")
                return Sequence((self._body(),))
            raise PatternError("(*alpha_assertion) not recognized", self.at)
        self.at = verb.end()
        known = name in _VERBS or name in ("F", "FAIL") if name or verb[2] else False
        if not known or self.peek() != ")":
            raise PatternError("(*VERB) not recognized or malformed", self.at)
        self.at += 1
        if name in ("F", "FAIL"):
            return NEVER
        self.refuse(f"the verb {self.text[start : self.at]}", "use an atomic group (?>...) or a lookahead")
        return None
