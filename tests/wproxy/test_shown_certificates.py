"""Certificates in the words of `wproxy status`, as a table and as lines."""

import time

import pytest

from master.status import Status, as_table
from tests.authority import NOW, authority, self_signed
from wproxy.config.convert import NGINX, read_document
from wproxy.shown_certificates import certificates_of

THEN = NOW.timestamp()


@pytest.fixture
def shown(tmp_path):
    """Reads a configuration beside which there are certificates; gives what is shown of them."""
    authority().issue("shop.example", ["shop.example", "www.shop.example"], days=43.5).write(tmp_path, "shop")
    self_signed("old.example", days=-2).write(tmp_path, "old")
    self_signed("many", [f"n{number}.example" for number in range(9)], days=1.5).write(tmp_path, "many")
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")

    def read(*files: str):
        servers = "".join(f"server {{\nlisten 443 ssl;\nssl_certificate {file};\nssl_certificate_key k;\n}}\n" for file in files)
        document = read_document(f"events {{}}\nhttp {{\n{servers}}}".encode(), "t.conf", NGINX)
        return certificates_of(document.root, str(tmp_path), THEN)

    return read


def test_subject_names_key_and_days(shown):
    (found,) = shown("shop.pem")
    assert str(found).startswith("shop.pem: CN=shop.example for shop.example, www.shop.example, EC P-256, 43 days left (2")
    assert (found.issuer, found.at, found.problem) == ("CN=Test Root", "t.conf:5", "")


def test_many_names_are_counted(shown):
    (found,) = shown("many.pem")
    assert found.shown_names == "n0.example, n1.example, n2.example and 6 more"
    assert found.shown_days == "1 day left"
    assert len(found.names) == 9


def test_each_file_is_shown_once(shown):
    assert [one.file for one in shown("shop.pem", "old.pem", "shop.pem")] == ["shop.pem", "old.pem"]


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("missing.pem", "cannot be read: No such file or directory"),
        (".", "cannot be read: Is a directory"),
        ("key.pem", "holds no certificate"),
        ("$ssl_server_name.pem", "read at each handshake"),
    ],
)
def test_what_cannot_be_shown_has_a_reason(shown, file, problem):
    (found,) = shown(file)
    assert (found.problem, str(found)) == (problem, f"{file}: {problem}")


def status(certificates, loaded=None):
    loaded = time.time() + 60 if loaded is None else loaded
    return Status("1", 1, 0, 0, 0, 1, int(loaded), "", None, "", True, 0, 0.0, 0, 0, 0, certificates=certificates)


def test_the_table_of_the_status(shown):
    text = as_table(status(shown("shop.pem", "old.pem", "missing.pem")))
    rows = text[text.index("CERTIFICATE") :].splitlines()
    assert rows[1].startswith("shop.pem     shop.example, www.shop.example") and rows[1].endswith("43 days left")
    assert rows[2].startswith("old.pem      old.example") and rows[2].endswith("EXPIRED")
    assert rows[3] == "missing.pem  cannot be read: No such file or directory"


def test_a_renewed_file_that_is_not_loaded_yet_is_told(shown):
    assert "43 days left (changed since it was loaded)" in as_table(status(shown("shop.pem"), loaded=THEN - 3600))
