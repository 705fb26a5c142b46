"""A variable that says which header fields it reads reads no others: its value is kept while these are the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from made_requests import make_request

from wproxy.http import FieldsLike
from wproxy.template import compile_template
from wproxy.variables import LOCATION, VARIABLES
from wproxy.variables.registry import FAMILIES

READING = {name: each for name, each in VARIABLES.items() if each.reads is not None}
READING |= {f"http_{name}": FAMILIES["http_"](name) for name in ("x", "upgrade", "cookie")}


class Fields(FieldsLike):
    """Header fields that note which of them are read."""

    def __init__(self) -> None:
        self.read: set[bytes] = set()

    def get(self, name: bytes) -> bytes:
        self.read.add(name)
        return b"value"

    @property
    def host(self) -> bytes:  # type: ignore[override]
        return self.get(b"host")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} depends on fields that cannot be told")


NATIVELY = pytest.mark.interpreted_only("a compiled request reads the host where no class of ours can note it")


@pytest.mark.parametrize("name", [pytest.param(name, marks=NATIVELY) if name == "host" else name for name in READING])
def test_it_reads_no_others(name: str):
    fields = Fields()
    request = make_request()
    request.fields = fields
    request.server = SimpleNamespace(name="s", encoded_name=b"s")  # type: ignore[assignment]
    request.location = SimpleNamespace(proxy_target=SimpleNamespace(address=1, host_header=b"h", port=1))  # type: ignore[assignment]
    variable = READING[name]
    variable.read(request)
    assert fields.read == set(variable.reads or ())
    assert variable.varies <= LOCATION, "one that changes for other reasons is not kept"


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("constant", set()),
        ("$remote_addr, $proxy_add_x_forwarded_for", {b"x-forwarded-for"}),
        ("$host:$http_x", {b"host", b"x"}),
        ("$http_x_y", None),  # underscores_in_headers may let another spelling through
        ("$host $cookie_a", None),
    ],
)
def test_a_template_reads_what_its_variables_read(text: str, reads: set[bytes] | None):
    assert compile_template(text).reads == reads
