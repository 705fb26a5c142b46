"""Rules about PHP behind FastCGI: the cases that one example cannot show."""

from __future__ import annotations

import pytest
from texts import reasons, rules_in

SCRIPT = "fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;"
PASS = "fastcgi_pass unix:/run/php/php-fpm.sock;"


def site(location: str, inside: str, around: str = "root /srv/www;") -> str:
    return f"events {{}}\nhttp {{ server {{ listen 80; {around} location {location} {{ {inside} }} }} }}"


def found(rule: str, location: str, inside: str, around: str = "root /srv/www;") -> bool:
    return rule in rules_in(site(location, inside, around))


@pytest.mark.parametrize(
    ("location", "inside", "is_found"),
    [
        ("/app", "fastcgi_pass 127.0.0.1:9000;", True),
        ("/app", "fastcgi_pass 127.0.0.1:3000;", False),  # another program, which may need no file
        ("~ \\.php$", "fastcgi_pass 127.0.0.1:3000;", True),
        ("~ ^/(status|ping)$", f"{PASS} fastcgi_param SCRIPT_NAME $fastcgi_script_name;", False),
        ("/app", f"{PASS} {SCRIPT}", False),
    ],
)
def test_who_needs_a_script_filename(location, inside, is_found):
    assert found("script-filename-missing", location, inside) == is_found


def test_one_of_the_server_is_lost_where_the_location_has_parameters():
    around = f"root /srv/www; {SCRIPT}"
    assert not found("script-filename-missing", "/app", PASS, around)
    assert found("script-filename-missing", "/app", f"{PASS} fastcgi_param A b;", around)


@pytest.mark.parametrize(
    ("script", "around", "is_found"),
    [
        ("$document_root$fastcgi_script_name", "root /srv/www;", False),
        ("$document_root$fastcgi_script_name", "", True),
        ("$realpath_root$fastcgi_script_name", "", True),
        ("$fastcgi_script_name", "root /srv/www;", True),
        ("/srv/www$fastcgi_script_name", "", False),
        ("/srv/www/index.php", "", False),
        ("$base$fastcgi_script_name", "set $base /srv;", False),
    ],
)
def test_a_script_is_a_file_below_root(script, around, is_found):
    inside = f"{PASS} fastcgi_param SCRIPT_FILENAME {script};"
    assert found("script-filename-without-root", "/app", inside, around) == is_found


def test_a_root_inside_an_alias_is_no_alias():
    inner = f"location ~ \\.php$ {{ root /srv/other; {PASS} {SCRIPT} }}"
    assert not found("alias-with-php", "/admin/", f"alias /srv/admin/; {inner}")
    assert found("alias-with-php", "/admin/", f"alias /srv/admin/; {inner.replace('root /srv/other;', '')}")


def test_the_wrong_path_below_an_alias_is_told():
    location = f"root /srv; location /admin {{ alias /srv/a; location ~ \\.php$ {{ {PASS} {SCRIPT} }} }}"
    (reason,) = reasons("alias-with-php", location)
    assert "for /admin/x.php PHP looks for /srv/a/admin/x.php" in reason


@pytest.mark.parametrize(
    ("pattern", "is_found"), [("\\.php(/|$)", True), ("\\.php", True), ("\\.php$", False), ("^/index\\.php(/|$)", True)]
)
def test_a_path_after_the_script(pattern, is_found):
    assert found("path-info-in-script", f"~ {pattern}", f"{PASS} {SCRIPT}") == is_found
