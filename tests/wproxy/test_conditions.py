"""If-Modified-Since and its kin, in nginx's order (routing.md §5.4)."""

from __future__ import annotations

import random

import pytest

from worker.http1.request import HeadLimits, HeadMemo, RequestFields, take_request_head
from wproxy.conditions import Conditions, conditions_of, judge, matches

ETAG = b'"3b9aca00-a"'
THEN = 1_000_000_000
AT = b"Sun, 09 Sep 2001 01:46:40 GMT"
EARLIER = b"Sun, 09 Sep 2001 01:46:39 GMT"
LATER = b"Sun, 09 Sep 2001 01:46:41 GMT"


def asking(**fields: bytes) -> Conditions:
    names = Conditions._fields
    return Conditions(*[fields.get(name) for name in names])


@pytest.mark.parametrize(
    ("fields", "mode", "status"),
    [
        ({"if_modified_since": AT}, "exact", 304),
        ({"if_modified_since": b"Sunday, 09-Sep-01 01:46:40 GMT"}, "exact", 304),
        ({"if_modified_since": b"Sun Sep  9 01:46:40 2001"}, "exact", 304),
        ({"if_modified_since": LATER}, "exact", 200),
        ({"if_modified_since": LATER}, "before", 304),
        ({"if_modified_since": EARLIER}, "before", 200),
        ({"if_modified_since": b"x"}, "before", 200),
        ({"if_modified_since": AT}, "off", 200),
        ({"if_none_match": ETAG}, "exact", 304),
        ({"if_none_match": b"W/" + ETAG}, "exact", 304),
        ({"if_none_match": b"*"}, "exact", 304),
        ({"if_none_match": b'"x"'}, "exact", 200),
        # Both must say that it is the same.
        ({"if_none_match": ETAG, "if_modified_since": LATER}, "exact", 200),
        ({"if_none_match": b'"x"', "if_modified_since": AT}, "exact", 200),
        ({"if_none_match": ETAG, "if_modified_since": AT}, "exact", 304),
        ({"if_match": ETAG}, "exact", 200),
        ({"if_match": b"*"}, "exact", 200),
        ({"if_match": b'"x"'}, "exact", 412),
        ({"if_match": b"W/" + ETAG}, "exact", 412),
        ({"if_unmodified_since": AT}, "exact", 200),
        ({"if_unmodified_since": LATER}, "exact", 200),
        ({"if_unmodified_since": EARLIER}, "exact", 412),
        ({"if_unmodified_since": b"x"}, "exact", 412),
        # What fails comes before what is the same.
        ({"if_match": b'"x"', "if_none_match": ETAG}, "exact", 412),
        ({"range": b"bytes=0-1", "if_range": ETAG}, "exact", 200),
    ],
)
def test_conditions_are_judged_in_nginxs_order(fields, mode, status):
    assert judge(asking(**fields), ETAG, THEN, mode) == status


@pytest.mark.parametrize("date", [AT, EARLIER, LATER, b"x"])
def test_what_has_no_time_is_never_unmodified(date):
    assert judge(asking(if_unmodified_since=date), ETAG, -1, "exact") == 412
    for mode in ("exact", "before", "off"):
        assert judge(asking(if_modified_since=date), ETAG, -1, mode) == 200


def test_without_an_etag_only_the_star_matches():
    assert matches(b"*", b"", weak=False)
    assert not matches(ETAG, b"", weak=True)


@pytest.mark.parametrize("listed", [b'"x", ' + ETAG, ETAG + b' , "x"', b'"x",W/' + ETAG + b"\t", b"," + ETAG])
def test_an_etag_is_found_in_a_list(listed):
    assert matches(listed, ETAG, weak=True)


@pytest.mark.parametrize("listed", [b"", b"3b9aca00-a", ETAG[:-1], ETAG + b"x", b'"x" ' + ETAG, b'w/"3b9aca00-a"'])
def test_what_only_looks_like_the_etag_does_not_match(listed):
    assert not matches(listed, ETAG, weak=True)


def test_a_header_block_is_looked_through_once():
    plain = RequestFields((), {b"accept": b"*/*"}, b"h", None, -1, False)
    assert conditions_of(plain) is None
    assert conditions_of(plain) is None
    asked = RequestFields((), {b"range": b"bytes=0-1"}, b"h", None, -1, False)
    assert conditions_of(asked) is conditions_of(asked)
    assert conditions_of(asked) == asking(range=b"bytes=0-1")


def test_what_is_remembered_of_the_form_of_a_block_does_not_hide_conditions():
    chance = random.Random(3)
    names = ["Referer", "Range", "If-None-Match", "If-Range", "User-Agent"]
    for _ in range(60):
        memo = HeadMemo()
        sequences = [chance.sample(names, chance.randrange(1, 4)) for _ in range(2)]
        for _ in range(8):
            lines = [
                f"{name}: {chance.choice(['', 'a', 'b', 'c'])}" for name in chance.choice(sequences[: chance.choice((1, 1, 2))])
            ]
            head = "\r\n".join(["GET / HTTP/1.1", "Host: h", *lines, "", ""]).encode()
            taken, alone = (take_request_head(head, HeadLimits(), one) for one in (memo, HeadMemo()))
            assert taken is not None and alone is not None
            assert conditions_of(taken[1]) == conditions_of(alone[1]), head
