"""PCRE2's syntax on Python's `re`: by tables, and by asking real PCRE2 where it is installed (nginx brings it)."""

from __future__ import annotations

import random
import re

import pytest
from pcre2_oracle import IS_LATER, LIBRARY, compile_error, spans

from wproxy.regex import NO_LIMIT, RegexTimedOut, compile_regex, install_guard
from wproxy.regex.properties import PROPERTIES, SCRIPTS

needs_pcre2 = pytest.mark.skipif(
    LIBRARY is None, reason="libpcre2-8 is not installed (it comes with nginx: tests/install_peers.sh)"
)

# Pattern, subject, and the whole match with its groups; None: no match.
MATCHES = [
    (r"^/(?<lang>[a-z]{2})/(.*)$", b"/en/x/y", (b"/en/x/y", b"en", b"x/y")),
    (r"(?'a'x)(?P<b>y)", b"xy", (b"xy", b"x", b"y")),
    (r"(?<a>x)\k<a>\k'a'\k{a}\g{a}(?P=a)", b"xxxxxx", (b"xxxxxx", b"x")),
    (r"(x)(y)\g{-1}\g1\2", b"xyyxy", (b"xyyxy", b"x", b"y")),
    (r"(a)\10", b"a\x08", (b"a\x08", b"a")),
    (r"\h\H", b"\xa0\xa0\tb", (b"\tb",)),
    (r"a\Rb", b"a\r\nb", (b"a\r\nb",)),
    (r"\R\n", b"\r\n", None),
    (r"a\z", b"a\n", None),
    (r"a\Z", b"a\n", (b"a",)),
    (r"a$", b"a\n", (b"a",)),
    (r"a$", b"a\n\n", None),
    (r"(?m)^\z", b"a\n", None),
    (r"(?m)b$", b"ab\ncd", (b"b",)),
    (r"\Ga", b"ba", None),
    (r"\Qa.b*\E+", b"a.b***", (b"a.b***",)),
    (r"[\Qa]\E]+", b"a]\\", (b"a]",)),
    (r"[[:alpha:]_[:^digit:]]+", b"9a_-", (b"a_-",)),
    (r"[]a]+[^]]", b"]ab", (b"]ab",)),
    (r"[[a]+", b"a[", (b"a[",)),
    (r"[--/]+", b"a./", (b"./",)),
    (r"[a&&b~~c||d]+", b"&~|", (b"&~|",)),
    (r"[\w-]+", b".a-b", (b"a-b",)),
    (r"\x{41}\x42\o{103}\104\e\cA\x", b"ABCD\x1b\x01\x00", (b"ABCD\x1b\x01\x00",)),
    (r"a{,2}", b"a{,2}", (b"a{,2}",)),
    (r"a{x}", b"a{x}", (b"a{x}",)),
    (r"a}]", b"a}]", (b"a}]",)),
    (r"a(?i)b|c", b"C", (b"C",)),
    (r"(a(?i)b)c", b"aBC", None),
    (r"(?i:a)b", b"Ab", (b"Ab",)),
    (r"(a)(?i)\1", b"aA", (b"aA", b"a")),
    (r"(?i)[^a]", b"A", None),
    (r"(?x) a b # c", b"ab", (b"ab",)),
    (r"(?xx)[a b]+", b"a b", (b"a",)),
    (r"a.b", b"a\nb", None),
    (r"(?s)a.b", b"a\nb", (b"a\nb",)),
    (r"a(?#x)+", b"aa", (b"aa",)),
    (r"(?U)a+", b"aa", (b"a",)),
    (r"(?n)(a)(?<b>b)", b"ab", (b"ab", b"b")),
    (r"a++a", b"aa", None),
    (r"(?>a|ab)c", b"abc", None),
    (r"(?:ab?)++b", b"ab", None),
    (r"(?<=a|bb)c", b"bbc", (b"c",)),
    (r"(?<!a|bb)c", b"bbc", None),
    (r"(a)?(?(1)b|c)", b"c", (b"c", None)),
    (r"(?(?=a)ab|c)", b"ac", (b"c",)),
    (r"\B", b"", (b"",)),
    (r"é+", "éé".encode(), ("é".encode(),)),
    (r"[é]", b"\xa9", (b"\xa9",)),
    (r"\d", "٣".encode(), None),
    (r"\s\N", b"\va", (b"\va",)),
    (r"(*FAIL)|a", b"a", (b"a",)),
    (r"(*NO_JIT)a", b"a", (b"a",)),
    (r"(*pla:a)a(*atomic:b)", b"ab", (b"ab",)),
    (r"(?C1)a", b"a", (b"a",)),
    (r".*foo", b"a\nbfoo", (b"bfoo",)),
    (r"(?s)(.*)/x", b"a\n/x/y", (b"a\n/x", b"a\n")),
]

# What PCRE2 refuses: pattern, reason, and the rest of the pattern that nginx shows.
REFUSALS = [
    ("a(b", "missing closing parenthesis", ""),
    ("a)b", "unmatched closing parenthesis", ")b"),
    ("a[b", "missing terminating ] for character class", ""),
    ("*a", "quantifier does not follow a repeatable item", "*a"),
    ("a**", "quantifier does not follow a repeatable item", "*"),
    ("^*", "quantifier does not follow a repeatable item", "*"),
    ("a{2,1}", "numbers out of order in {} quantifier", "}"),
    ("a{65536}", "number too big in {} quantifier", "}"),
    ("a(?<n", "syntax error in subpattern name (missing terminator?)", ""),
    ("(?<1a>x)", "subpattern name must start with a non-digit", "1a>x)"),
    ("(?P<n>a)(?P<n>b)", "two named subpatterns have the same name (PCRE2_DUPNAMES not set)", "b)"),
    (r"\g{3}", "reference to non-existent subpattern", "}"),
    (r"\1", "reference to non-existent subpattern", "1"),
    ("(?z)", "unrecognized character after (? or (?-", "z)"),
    ("(?", "missing closing parenthesis", ""),
    ("[[:foo:]]", "unknown POSIX class name", "foo:]]"),
    ("[:alpha:]", "POSIX named classes are supported only within a class", "[:alpha:]"),
    ("[z-a]", "range out of order in character class", "a]"),
    ("[a-\\d]", "invalid range in character class", "]"),
    ("a\\", "\\ at end of pattern", ""),
    (r"\y", "unrecognized character follows \\", "y"),
    (r"\x{zz}", r"non-hex character in \x{} (closing brace missing?)", "zz}"),
    ("ab(?<=a+)b", "lookbehind assertion is not fixed length", "(?<=a+)b"),
    ("(?#", "missing ) after (?# comment", ""),
    ("é(", "missing closing parenthesis", ""),
    ("é)é", "unmatched closing parenthesis", ")é"),
]

# What PCRE2 takes and `re` cannot do: pattern, and words of the message.
UNTRANSLATABLE = [
    ("(?R)", "recursion (?R)"),
    ("(a)(?1)", "recursion (?1)"),
    ("(?<n>a)(?&n)", "a subroutine call"),
    (r"(a)\g<1>", "a subroutine call"),
    ("(?|(a)|(b))", "branch reset"),
    (r"a\Kb", r"\K"),
    (r"\X", r"\X"),
    (r"\p{Emoji}", r"\p{Emoji}"),
    (r"[\P{sc:Runic}]", r"\P{sc:Runic}"),
    ("(*UTF8)a", "(*UTF8)"),
    ("a(*PRUNE)b", "(*PRUNE)"),
    (r"\g{+1}(a)", "comes later"),
    (r"(a\1)", "the group it stands in"),
    ("(?J)(?<n>a)|(?<n>b)", "two groups of one name"),
    ("(?(R)a)", "the condition (R)"),
]


@pytest.mark.parametrize(("pattern", "subject", "groups"), MATCHES)
def test_a_pattern_means_what_it_means_in_pcre2(pattern, subject, groups):
    found = compile_regex(pattern).search(subject)
    assert (found and (found[0], *found.groups())) == groups


needs_pcre2_of_nginx_1_22 = pytest.mark.skipif(
    LIBRARY is None or IS_LATER, reason="regexes are read as PCRE2 10.42 reads them, and that is not installed"
)


@needs_pcre2_of_nginx_1_22
@pytest.mark.parametrize(("pattern", "subject", "groups"), MATCHES)
def test_the_table_is_what_pcre2_says(pattern, subject, groups):
    found = spans(pattern.encode(), subject)
    assert found == groups if found is None else [span_text(subject, span) for span in found] == list(groups or ())


def span_text(subject: bytes, span: tuple[int, int]) -> bytes | None:
    return None if span == (-1, -1) else subject[slice(*span)]


@pytest.mark.parametrize(("pattern", "reason", "rest"), REFUSALS)
def test_a_bad_pattern_is_refused_in_the_words_of_nginx(pattern, reason, rest):
    where = f' at "{rest}"' if rest else ""
    with pytest.raises(ValueError) as raised:
        compile_regex(pattern)
    assert str(raised.value) == f'pcre2_compile() failed: {reason} in "{pattern}"{where}'


@needs_pcre2_of_nginx_1_22
@pytest.mark.parametrize(("pattern", "reason", "rest"), REFUSALS)
def test_these_are_the_words_of_pcre2(pattern, reason, rest):
    refusal = compile_error(pattern.encode())
    assert refusal
    assert (refusal.reason, pattern.encode()[refusal.offset :].decode()) == (reason, rest)


@pytest.mark.parametrize(("pattern", "words"), UNTRANSLATABLE)
def test_what_cannot_be_translated_is_named_with_a_remedy(pattern, words):
    with pytest.raises(ValueError) as raised:
        compile_regex(pattern)
    message = str(raised.value)
    assert words in message
    assert message.startswith(f'regex "{pattern}" uses ')
    assert re.search("which is not supported: (write|put|give|use) ", message)
    assert "\n" not in message


def test_an_error_of_the_pattern_goes_before_what_is_not_supported():
    with pytest.raises(ValueError, match="unmatched closing parenthesis"):
        compile_regex("(?R))")


def test_deep_nesting_is_refused_and_not_a_traceback():
    with pytest.raises(ValueError, match="more than 100 parentheses within each other"):
        compile_regex("(" * 300 + ")" * 300)
    assert compile_regex("(" * 100 + "a" + ")" * 100).groups == 100


@pytest.mark.parametrize("pattern", ["(" * 12 + "a?" + "){30}" * 12 + "b", "((a|b)*c)*" * 40 + "!"])
def test_a_regex_too_tangled_to_judge_is_watched_and_read_soon(pattern):
    assert compile_regex(pattern).unwatched != NO_LIMIT


def test_a_regex_tells_its_groups_and_names():
    regex = compile_regex(r"(a)(?<b>b)(?:c)(?<d>d)", caseless=True)
    assert (regex.text, regex.caseless, regex.groups, regex.names) == (r"(a)(?<b>b)(?:c)(?<d>d)", True, 3, ("b", "d"))
    found = regex.search(b"xABCD")
    assert found
    assert found["b"] == b"B"


def test_caseless_is_ascii_only_as_without_utf_mode():
    assert compile_regex("É", caseless=True).search("é".encode()) is None
    assert compile_regex("[a-f]x", caseless=True).search(b"FX")


def test_bytes_that_are_no_utf8_come_through():
    assert compile_regex(b"^/\xff+".decode("utf-8", "surrogateescape")).search(b"/\xff\xff")


# The bound.

QUICK = [
    r"\.php$",
    r"^/api/v(\d+)/(.*)$",
    r"^/(?:[^/]+/)*index\.html$",
    r"\.(?:jpe?g|png|gif|ico|css|js)$",
    r"(MSIE [1-6]\.|bot|spider)",
    r"^(?!/private).*\.html?$",
    r"^(?<user>.+)\.example\.com$",
    r"(?s).*foo",
    r"^~?[a-z]++[a-z]",
    r"^(?:/[\w-]+)+/?$",
]
WATCHED = [r"(a+)+$", r"^(a|ab)*$", r"(?:a|a)*b", r"(a*)*", r"^(.*a){9}$", r"(?:a?){30}a{30}", r"^(\w+\s?)*$"]
WATCHED_WHEN_LONG = [r"[^/]+\.php(/|$)", r"^(.+\.php)(/.+)$", r"a.*b.*c", r"(\w+)\s*=\s*\1"]


@pytest.mark.parametrize("pattern", QUICK)
def test_a_regex_that_is_proven_quick_is_searched_by_re_itself(pattern):
    regex = compile_regex(pattern)
    assert regex.unwatched == NO_LIMIT
    assert regex.search in (regex.pattern.search, regex.pattern.match)


@pytest.mark.parametrize("pattern", WATCHED)
def test_a_regex_without_a_bound_is_watched_always(pattern):
    assert 0 <= compile_regex(pattern).unwatched < 16


@pytest.mark.parametrize("pattern", WATCHED_WHEN_LONG)
def test_a_regex_of_some_power_is_watched_on_long_subjects_only(pattern):
    assert 50 < compile_regex(pattern).unwatched < 2000


def test_an_anchored_regex_is_tried_once():
    regex = compile_regex("^(?:/a|/b)")
    assert regex.search == regex.pattern.match
    assert compile_regex("^/a|/b").search(b"x/b")


def test_the_guard_is_asked_for_long_subjects_only():
    asked = []

    def guard(regex, search, value):
        asked.append((regex.text, len(value)))
        return search(value)

    regex = compile_regex(r"a+b")
    install_guard(guard)
    try:
        assert regex.search(b"aab")
        assert regex.search(b"a" * 5000) is None
    finally:
        install_guard(None)
    assert asked == [("a+b", 5000)]
    assert regex.search(b"a" * 2000 + b"b")


def test_a_timeout_names_regex_subject_and_place():
    error = RegexTimedOut(compile_regex("(a+)+$", origin="/etc/nginx/nginx.conf:12"), b"a" * 5000, 0.1)
    start = "a" * 64
    assert str(error) == (
        f'regex "(a+)+$" took more than 100 ms on 5000 bytes, "{start}...", match abandoned: /etc/nginx/nginx.conf:12'
    )


# Against PCRE2, at random.

SOME_ATOMS = (
    r"a b c . \. / [ab] [^a] [a-c] \w \d \s \b \B ^ $ \A \z \Z x A é \x61 \n [[:alpha:]] [[:^digit:]b] \h \R \N (?i) (?s)"
)
MORE_ATOMS = r"(?m) (?-i) \Qa.b\E \1 \2 (?#c) []a] [\w-] 0 1 { } ] {,2} \101 (?U) \G \g{1} [a\-c]"
SOME_QUANTIFIERS = "* + ? {2} {1,2} {0} {1,} *? +? ?? *+ ++ ?+ {1,3}+ {0,2}?"
SOME_OPENINGS = "( ( (?: (?: (?= (?! (?<= (?<! (?> (?i: (?m: (?s-i:"
ATOMS = [*SOME_ATOMS.split(), *MORE_ATOMS.split(), "\n", "(?x) "]
QUANTIFIERS = SOME_QUANTIFIERS.split()
OPENINGS = SOME_OPENINGS.split()


def random_pattern(chance: random.Random, depth: int) -> str:
    """A pattern of a few items, some of them bad."""
    items = []
    for _ in range(chance.randint(1, 4)):
        kind = chance.random()
        if depth and kind < 0.3:
            item = chance.choice(OPENINGS) + random_pattern(chance, depth - 1) + ")"
        elif depth and kind < 0.33:
            item = f"(?(1){random_pattern(chance, depth - 1)}|{random_pattern(chance, 0)})"
        else:
            item = chance.choice(ATOMS)
        # PCRE2 10.42 makes \R* possessive where it must not: \D{1,2}\R*\s fails on "c\nc".
        if chance.random() < 0.3 and item != r"\R":
            item += chance.choice(QUANTIFIERS)
        items.append(item)
    text = "".join(items)
    return f"{text}|{random_pattern(chance, depth - 1)}" if depth and chance.random() < 0.2 else text


@needs_pcre2_of_nginx_1_22
@pytest.mark.parametrize("seed", range(4))
def test_random_patterns_match_as_in_pcre2(seed):
    chance = random.Random(seed)
    compared = hits = 0
    for _ in range(700):
        pattern, caseless = random_pattern(chance, 2), chance.random() < 0.2
        refused = compile_error(pattern.encode(), caseless)
        try:
            regex = compile_regex(pattern, caseless)
        except ValueError:
            continue
        if refused:  # two odd lookbehinds of no fixed length are taken: no harm
            assert refused.number == 125
            continue
        for _ in range(3):
            subject = "".join(chance.choice("aaabbcxA/. 01\n_é{}]") for _ in range(chance.randint(0, 8))).encode()
            found = regex.search(subject)
            ours = found and [found.span(group) for group in range(regex.groups + 1)]
            assert ours == spans(pattern.encode(), subject, caseless), (pattern, subject, regex.pattern.pattern)
            compared += 1
            hits += found is not None
    assert compared > 800
    assert hits > 200


@needs_pcre2
def test_random_rubbish_is_one_line_and_mostly_the_line_of_pcre2():
    chance = random.Random(5)
    pieces = [*"ab\\(?<>[]{}:*+|)^-,=!'P#CRkgxo81&", "é", "(?", "[[:", "[:alpha:]", r"\x{", r"\g{", "(?<n>", r"\Q", r"\E", "(*"]
    refused = same = 0
    for _ in range(3000):
        pattern = "".join(chance.choice(pieces) for _ in range(chance.randint(1, 9)))
        refusal = compile_error(pattern.encode())
        try:
            compile_regex(pattern)
            message = ""
        except ValueError as error:
            message = str(error)
            assert "\n" not in message
        if refusal:
            assert message, pattern
            refused += 1
            same += f"failed: {refusal.reason} in" in message
    assert refused > 1000
    assert same > 0.95 * refused


# Properties, \p{L}: a byte is the character of its number.


@needs_pcre2_of_nginx_1_22
@pytest.mark.parametrize("form", [r"\p{%s}", r"\P{%s}", r"\p{^%s}", r"[\p{%s}]", r"[^\p{%s}x]", r"[\P{%s}a]"])
@pytest.mark.parametrize("caseless", [False, True])
def test_properties_are_those_of_pcre2(form, caseless):
    for name in (*PROPERTIES, *SCRIPTS, "L_u", " L u", "sc:Latin", "scx=greek"):
        regex = compile_regex(form % name, caseless)
        for byte in range(256):
            found = regex.search(bytes([byte])) is not None
            assert found == (spans((form % name).encode(), bytes([byte]), caseless) is not None), (name, byte)


def test_one_letter_needs_no_braces():
    match = compile_regex(r"^/(\pL+)-(\PN+)$").search(b"/caf\xe9-x.y")
    assert match is not None and match.groups() == (b"caf\xe9", b"x.y")
