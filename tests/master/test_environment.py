"""`env`: what reaches workers and a new binary."""

from master.environment import new_binary_environment, worker_environment

INHERITED = {"TZ": "UTC", "PATH": "/bin", "PYTHONPATH": "/src", "SECRET": "x", "VIRTUAL_ENV": "/venv", "NOTIFY_SOCKET": "@n"}


def test_a_worker_has_its_time_zone_and_what_is_named():
    assert worker_environment((), INHERITED) == {"TZ": "UTC"}
    assert worker_environment((("SECRET", None), ("A", "b=c"), ("MISSING", None)), INHERITED) == {
        "SECRET": "x",
        "A": "b=c",
        "TZ": "UTC",
    }


def test_a_given_value_replaces_the_inherited_one_and_may_be_empty():
    assert worker_environment((("TZ", "Europe/Berlin"), ("SECRET", "")), INHERITED) == {"TZ": "Europe/Berlin", "SECRET": ""}


def test_the_first_line_about_a_name_holds():
    assert worker_environment((("A", "1"), ("A", "2")), {})["A"] == "1"


def test_a_new_binary_has_besides_what_its_interpreter_and_the_service_manager_need():
    found = new_binary_environment((("SECRET", None), ("PATH", "/usr/bin")), INHERITED)
    assert found == {"TZ": "UTC", "PATH": "/usr/bin", "PYTHONPATH": "/src", "SECRET": "x", "NOTIFY_SOCKET": "@n"}
