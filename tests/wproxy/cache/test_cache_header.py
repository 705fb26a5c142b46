"""Files of the cache: those that nginx wrote are read, ours are read back, and nothing that is not whole is."""

from __future__ import annotations

import zlib
from base64 import b85decode

import pytest

from wproxy.cache.header import (
    HEADER_SIZE,
    BadFile,
    Header,
    check,
    header_bytes,
    key_text,
    place,
    read_header,
    struct_bytes,
    with_checksum,
)
from wproxy.cache.key import cache_key, file_path

# Compressed files of nginx 1.31; those of 1.22 are the same.
RECORDED = {
    "/plain": (
        "6/d9/4f02d9ef3cc9d34baee23b1b8f32bd96",
        r"""c-muSfPgjUc(OsX4U}I2r4`~|WP#{82O#p3nyqFqFvKz%FtI8nCM7E|i~<zE<?R}2rJ!GslbD&u<q;ARpl_&Ws9<DZpy2P#%jKMyoRO;QoS#=x"""
        r"""l%HdzkegVco0y(zYiwp<prcS+l9-dKTb_{#B#TnZ5_2+B5=&BT&EQg*X}YOJMfpXxhDHXwT&^LB=~fEhNZ{r2Nh~hW_03PoOv_A7u~P8O&(l#b"""
        r"""FjDZ#F9X_bWTs$fU}XS83hurkyj(6obD@fi4G@ZeDvS_{K(0*9E7A2y%}X!Iuu?EI;^pGy%1F)0$%pz600}uwUH""",
    ),
    "/vary": (
        "1/4b/8b3da70f959360f945c71bf5a77524b1",
        r"""c-muSfPgjUc(OsX4U}I2r4`~|WP#{82O#prhn2Q5FvKwWF|jHoCM7E|3>*-5OioTMDADyv%u6p#Oi$HOh|u-U%uAu012(uG<<|47iuXtePM)Ln"""
        r"""#2F;U<?R}2rJ!GySX9a75fT!hZ>VReU}RvR;P1`L<(!zDk*e#QpI1_ppJSzvn^>U>bhoXsnSp_hLUBoAPO5HsMkbIfN-ayw$xKNsNwqbDOJ%0%"""
        r"""rWO_D7ugyb8Srwsh9st2DS+dEm&+%yxJ1`CKP59QGd0CZ!8booN5Q~I!7slIXt$A>f}w$x0SGC$`-bpxxd6?DDl#@eC<3Z5LMRFY`oKy7M-T(O"""
        r"""0`x>`9#AGVFTEtgO2N>Omy4GxBQ+-{AL4rej<jWb""",
    ),
    "/vary of another language": (
        "2/95/994270815caad33916ba5754b7278952",
        r"""c-muSfPgjUc(OsX4U}I2r4`~|WP#{82O#prhn2Q5FvKwWF|jHoCM7E|3>*-5OioTMDADyv%u6p#Oi$HOh|u-U%uAu017<oEG{&sDY$>)YJY>6i"""
        r"""XAnq?%iA^5N<qIYv8a;EBP1k1-%!s`!N|Zs!QY#g%Q-PQBURTqKd+=HKgUWTH?cw&=x$qMGXn!1h2oOLoK)TNj7%U|lv<XUlbMoOl4@%Pm&#1j"""
        r"""O)V<QFS0c>GT`NM4M|M5QUJ#RFPBeZafz;PeoAIqW@?I+f^UAFj)H-af?s|a&~76$1w#WX0}xVh_YL9YasiqPRb*^{Py|$AgisU)^nsNEjvxkl"""
        r"""1?Y*?JfKW!UV2G}m4cxmFBdOYMruw@KE(F`O!j6e""",
    ),
    "/chunked": (
        "1/a9/cbb5a424cf368067aefb33ab23804a91",
        r"""c-muSfPgjUc(OsX4U}I2r4`~|WP#{82O#o>trMR!FvK%jF|jHoCM7E|i~<zE<?R}2rJ$djQJR;Xn!@D~5)z<qsAs5PWMH7+@6F5QoS2-Es_UGe"""
        r"""S5lOpW2KOrSfQJko@#4sW?-PBP+XFjld4;ukqIP=Qp*x^GE)*uQf<xPQkiMGsYONkMYe`U2E1IZA&Kc$3gBqq<?=}^F46VPPsvQnOii&;@XgQD"""
        r"""Q7|x4@XId)+HGW}U}#`v0744xz9GC^E<kgkii`~qihwGN5Q;*I67!1FQj2t5^OAuE=K(E)`iqx~mn$PRCnq27Qvk+uQu_""",
    ),
}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


def recorded(name: str) -> tuple[str, bytes]:
    path, data = RECORDED[name]
    return path, zlib.decompress(b85decode(data))


def stored(text: bytes = b"/a", head: bytes = HEAD, body: bytes = b"body", marked: bool = True) -> bytes:
    """A file as we write it."""
    key, header = cache_key(text), Header(valid_sec=100, etag=b'"e"', vary=b"Accept", variant=b"v" * 16)
    place(header, key, len(head))
    data = header_bytes(header, key) + head + body
    if marked:
        at, mark = with_checksum(data, header.body_start, len(data))
        data = data[:at] + mark + data[at + 4 :]
    return data


def accept(data: bytes, text: bytes = b"/a") -> Header:
    header = read_header(data)
    check(header, cache_key(text), data, len(data))
    return header


@pytest.mark.parametrize("name", RECORDED)
def test_a_file_of_nginx_is_read(name):
    path, data = recorded(name)
    uri = name.split()[0].encode()
    header = accept(data, uri)
    assert key_text(header, data) == uri
    assert (header.valid_sec, header.updating_sec, header.error_sec) == (1796001452, 60, 120)
    assert (header.etag, header.last_modified) == (b'"abc"', 1793613600)
    assert data[header.header_start :].startswith(b"HTTP/1.1 200 OK\r\n")
    assert data[header.body_start :] == b"hello " + uri
    digest = header.variant if "another" in name else cache_key(uri).digest
    assert file_path("/c", (1, 2), digest) == f"/c/{path}"


@pytest.mark.parametrize("name", RECORDED)
def test_we_write_what_nginx_writes(name):
    _, data = recorded(name)
    header = read_header(data)
    assert header_bytes(header, cache_key(name.split()[0].encode())) == data[: header.header_start]


def test_a_variant_has_another_file_and_names_it():
    _, data = recorded("/vary of another language")
    header = read_header(data)
    assert header.vary == b"Accept-Language, X-Kind"
    key = cache_key(b"/vary")
    assert key.variant(header.variant)[:4] == (b"/vary", header.variant, key.crc32, key.digest)


def test_our_file_is_read_back():
    header = accept(stored())
    assert (header.valid, header.etag, header.vary, header.variant) == (100.0, b'"e"', b"Accept", b"v" * 16)


def test_a_file_that_ends_too_early_is_refused_wherever_it_ends():
    data = stored()
    for end in range(len(data)):
        with pytest.raises(BadFile):
            accept(data[:end])
    with pytest.raises(BadFile):
        accept(data + b"x")


def test_a_file_of_nginx_that_ends_too_early_is_refused_by_its_content_length():
    _, data = recorded("/plain")
    for end in range(len(data)):
        with pytest.raises(BadFile):
            accept(data[:end], b"/plain")


@pytest.mark.parametrize("marked", [True, False])
def test_no_changed_byte_before_the_body_makes_another_response(marked):
    """Times may differ, and with them the checksum of a file that has one is the same."""
    data = stored(marked=marked)
    whole = accept(data)
    for at in range(whole.body_start):
        broken = data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]
        try:
            header = accept(broken)
        except (BadFile, OverflowError):
            continue
        is_time = 8 <= at < 48 or 52 <= at < 54
        is_tag = 58 <= at < 187
        is_unmarked = not marked and (at >= 187)
        assert is_time or is_tag or is_unmarked, at
        assert header.body_start == whole.body_start


def test_the_file_of_another_key_is_refused():
    with pytest.raises(BadFile, match="collision"):
        accept(stored(b"/a"), b"/b")
    data = stored(b"/a")
    header = read_header(data)
    header.crc32 = cache_key(b"/b").crc32
    with pytest.raises(BadFile, match="collision"):
        accept(struct_bytes(header) + data[HEADER_SIZE:], b"/b")


@pytest.mark.parametrize("data", [b"", b"\x05", b"<html>" * 100, bytes(1000), b"\x04" + stored()[1:], b"\xff" * 1000])
def test_a_foreign_file_is_refused(data):
    with pytest.raises(BadFile):
        accept(data)


def test_a_head_that_is_too_long_cannot_be_stored():
    with pytest.raises(BadFile, match="too long"):
        stored(head=b"x" * 65536)


def test_the_times_can_be_changed_in_place():
    data = stored()
    header = read_header(data)
    header.valid_sec, header.date, header.error_sec = 999, 5, 7
    changed = accept(struct_bytes(header) + data[HEADER_SIZE:])
    assert (changed.valid_sec, changed.date, changed.error_sec) == (999, 5, 7)
