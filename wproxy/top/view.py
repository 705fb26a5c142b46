"""The screen of `wproxy top` as lines of text: values in, lines out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from wproxy.top.history import History, State

BOLD, REVERSE, RED, GREEN, YELLOW, PLAIN = "\x1b[1m", "\x1b[7m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
SIGNS = {"up": ("+", GREEN), "down": ("x", YELLOW), "draining": ("v", YELLOW), "checking": ("?", YELLOW)}
BAD = ("!", RED)
HELP = (
    "u upstreams   z servers   w workers   c causes   Enter history of a peer",
    "up, down: choose a line   s sort by the next column   r reverse   / filter   f failed only   p pause",
    "d drain a peer   U up again (both ask: y)   ? help   q quit",
)


class Row(NamedTuple):
    """One line of a table. key: what it is about. cells: as text. values: what they are sorted by. colour: "" for none."""

    key: tuple[str, ...]
    cells: tuple[str, ...]
    values: tuple[Any, ...]
    is_failing: bool = False
    colour: str = ""


class Table(NamedTuple):
    """A table. numbers: the columns that are aligned to the right."""

    titles: tuple[str, ...]
    rows: list[Row]
    numbers: frozenset[int]


@dataclass(slots=True)
class Look:
    """The view that a person has chosen. sort: the column, -1 for the order of the configuration. chosen: the line."""

    view: str = "u"
    sort: int = -1
    is_reversed: bool = False
    wanted: str = ""
    failed_only: bool = False
    chosen: int = 0
    shows_history: bool = False
    shows_help: bool = False
    is_paused: bool = False
    question: str = ""
    told: str = ""


def milliseconds(seconds: float | None) -> str:
    """Return `-`, `3ms`, `1.5s`."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.1f}s"


def duration(seconds: float) -> str:
    """Return `12s`, `3m 4s`, `3h 4m`, `3d 4h`."""
    whole = max(0, int(seconds))
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller}{name}"
    return f"{whole}s"


def number(value: float) -> str:
    """Return a rate or a count in few characters."""
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def size(value: float) -> str:
    """Return bytes as `12K`, `3.4M`."""
    for unit in ("", "K", "M", "G"):
        if value < 1024:
            return f"{value:.0f}{unit}" if value >= 10 or not unit else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}T"


def requests_of(state: State) -> float:
    """Return how many requests there have been, also where requests are not counted by location."""
    total: float = state["totals"]["requests"] or sum(worker["requests"] for worker in state["workers"].values())
    return total


def head_lines(history: History) -> list[str]:
    """Return the lines above the table."""
    state = history.now
    head, totals, workers = state["head"], state["totals"], state["workers"].values()
    draining = sum(worker["state"] == "draining" for worker in workers)
    at = time.strftime("%H:%M:%S", time.localtime(state["now"]))
    first = (
        f"wproxy {head['version']}  up {duration(state['now'] - head['started'])}  gen {head['generation']}  "
        f"workers {len(workers)}{f' ({draining} draining)' if draining else ''}  {at}"
    )
    p50, p95, p99 = history.quantiles(lambda each: each["totals"]["buckets"], (0.5, 0.95, 0.99))
    all_of_them, failed = history.rate(requests_of), history.rate(lambda each: each["totals"]["classes"][4])
    share = 100 * failed / all_of_them if all_of_them else 0.0
    second = (
        f"req/s {number(all_of_them)}  active {totals['active']}  connections {totals['connections']}  p50 {milliseconds(p50)} "
        f"p95 {milliseconds(p95)} p99 {milliseconds(p99)}  5xx {share:.1f}%"
    )
    causes = sorted(state["causes"].items(), key=lambda each: -each[1]["count"])
    third = "CAUSES 10m  " + ("  ".join(f"{code} {found['count']}" for code, found in causes) or "none")
    found = [first, second, third]
    if head["reload_error"]:
        found.append(f"reload failed: {head['reload_error'].splitlines()[0]}")
    return found


def peers(history: History) -> Table:
    """Return the peers of all upstreams."""
    state, rows = history.now, []
    for name, group in state["upstreams"].items():
        for address, peer in group["peers"].items():
            sign, colour = SIGNS.get(peer["state"], BAD)
            last = peer["history"][-1] if peer["history"] else None
            if last is not None and last["to"] != peer["state"]:
                last = None  # its rest is over, and no request has come since: what it is now has no reason
            since = state["now"] - last["at"] if last else None
            reason = "" if last is None else last["cause"] + (f" x{last['failures']}" if last["failures"] > 1 else "")

            def read(each: State, what: str, name: str = name, address: str = address) -> Any:
                return each["upstreams"].get(name, {"peers": {}})["peers"].get(address, {}).get(what)

            rate = history.rate(lambda each: read(each, "requests") or 0)
            (p95,) = history.quantiles(lambda each: read(each, "buckets") or (), (0.95,))
            cells = (
                f"{name} {peer['server']}",
                f"{sign} {peer['state']}",
                "-" if since is None else duration(since),
                number(rate),
                str(peer["active"]),
                milliseconds(p95),
                str(peer["fails"]),
                str(peer["weight"]),
                reason,
            )
            values = (
                cells[0],
                peer["state"],
                -(since or 0),
                rate,
                peer["active"],
                p95 or 0,
                peer["fails"],
                peer["weight"],
                reason,
            )
            rows.append(Row((name, address), cells, values, peer["state"] != "up", colour))
    return Table(
        ("PEER", "STATE", "SINCE", "REQ/S", "ACT", "P95", "FAIL", "WEIGHT", "REASON"), rows, frozenset((2, 3, 4, 5, 6, 7))
    )


def servers(history: History) -> Table:
    """Return the servers and their locations."""
    state, rows = history.now, []
    for what in ("servers", "locations"):
        for name, found in state[what].items():

            def read(each: State, key: str, what: str = what, name: str = name) -> Any:
                return each[what].get(name, {}).get(key)

            rate = history.rate(lambda each: read(each, "requests") or 0)
            sent = history.rate(lambda each: read(each, "sent") or 0)
            (p95,) = history.quantiles(lambda each: read(each, "buckets") or (), (0.95,))
            classes = found["classes"]
            shown = name if what == "servers" else f"  {name}"
            counts = (number(rate), str(found["active"]), *map(str, classes[1:]), milliseconds(p95), size(sent))
            values = (name, rate, found["active"], *classes[1:], p95 or 0, sent)
            rows.append(Row((what, name), (shown, *counts), values, bool(classes[4]), RED if classes[4] else ""))
    return Table(("SERVER", "REQ/S", "ACT", "2XX", "3XX", "4XX", "5XX", "P95", "SENT/S"), rows, frozenset(range(1, 9)))


def workers(history: History) -> Table:
    """Return the workers."""
    state, rows = history.now, []
    for slot, worker in state["workers"].items():
        cpu = 100 * history.rate(lambda each, slot=slot: each["workers"].get(slot, {}).get("cpu", 0.0))  # type: ignore[misc]
        rate = history.rate(lambda each, slot=slot: each["workers"].get(slot, {}).get("requests", 0))  # type: ignore[misc]
        age = state["now"] - worker["started"]
        cells = (
            *(slot, str(worker["pid"]), worker["state"], str(worker["generation"]), duration(age)),
            *(number(rate), str(worker["connections"]), f"{cpu:.0f}%", size(worker["memory"]), str(worker["descriptors"])),
        )
        values = (
            *(int(slot), worker["pid"], worker["state"], worker["generation"], age),
            *(rate, worker["connections"], cpu, worker["memory"], worker["descriptors"]),
        )
        is_well = worker["state"] == "serving"
        rows.append(Row((slot,), cells, values, not is_well, "" if is_well else YELLOW))
    titles = ("WORKER", "PID", "STATE", "GEN", "UP", "REQ/S", "CONN", "CPU", "MEM", "FD")
    return Table(titles, rows, frozenset((1, 3, 4, 5, 6, 7, 8, 9)))


def causes(history: History) -> Table:
    """Return why requests have failed in the last minutes, and what to do."""
    rows = []
    for code, found in history.now["causes"].items():
        cells = (code, str(found["count"]), found["who"], f"{found['when']}: {found['fix']}")
        rows.append(Row((code,), cells, (code, found["count"], found["who"], ""), True))
    return Table(("CAUSE", "COUNT", "WHO", "WHAT IT IS, AND WHAT TO DO"), rows, frozenset((1,)))


VIEWS: dict[str, Callable[[History], Table]] = {"u": peers, "z": servers, "w": workers, "c": causes}


def chosen_rows(history: History, look: Look) -> Table:
    """Return the table of a view with the rows that are wanted, in the order that is wanted."""
    table = VIEWS[look.view](history)
    wanted = look.wanted.lower()
    rows = [row for row in table.rows if not wanted or any(wanted in cell.lower() for cell in row.cells)]
    if look.failed_only:
        rows = [row for row in rows if row.is_failing]
    if 0 <= look.sort < len(table.titles):
        rows.sort(key=lambda row: row.values[look.sort], reverse=look.is_reversed)
    elif look.is_reversed:
        rows.reverse()
    return table._replace(rows=rows)


def history_lines(history: History, row: Row) -> list[str]:
    """Return the changes of a peer's state."""
    upstream, address = row.key
    peer = history.now["upstreams"].get(upstream, {"peers": {}})["peers"].get(address, {"history": []})
    changes = [
        f"  {time.strftime('%H:%M:%S', time.localtime(change['at']))} {change['from']} -> {change['to']}: {change['cause']}, "
        f"{change['failures']} failures, worker {change['worker']}"
        for change in reversed(peer["history"])
    ]
    return [f"history of {upstream} {address}", *(changes or ["  nothing has happened yet"])]


def screen(history: History, look: Look, width: int, height: int, coloured: bool) -> list[str]:
    """Return the lines of the whole screen, none wider than it is."""
    lines = [(BOLD if index == 0 else "", line) for index, line in enumerate(head_lines(history))]
    if look.is_paused:
        lines[0] = (BOLD, lines[0][1] + "  PAUSED")
    table = chosen_rows(history, look)
    look.chosen = max(0, min(look.chosen, len(table.rows) - 1))
    below: list[tuple[str, str]] = []
    if look.shows_help:
        below += [("", line) for line in HELP]
    if look.shows_history and look.view == "u" and table.rows:
        below += [("", line) for line in history_lines(history, table.rows[look.chosen])]
    state = [f"filter: {look.wanted}"] if look.wanted else []
    if look.failed_only:
        state.append("failed only")
    foot = look.question or look.told or "  ".join((*state, "? help  q quit"))
    body = table_lines(table, look)
    room = max(2, height - len(lines) - len(below) - 1)
    first = max(0, look.chosen + 2 - room)  # the chosen line is always there
    shown = [body[0], *body[1 + first : room + first]]
    everything = [*lines, *shown, *below]
    everything += [("", "")] * (height - 1 - len(everything))
    everything = [*everything[: height - 1], (REVERSE if look.question else "", foot)]
    return [painted(line[:width], style if coloured else "") for style, line in everything]


def table_lines(table: Table, look: Look | None) -> list[tuple[str, str]]:
    """Return the lines of a table with their styles, its titles first. look: None where nothing is chosen."""
    titles = list(table.titles)
    if look is not None and 0 <= look.sort < len(titles):
        titles[look.sort] += "^" if not look.is_reversed else "v"
    cells = [titles, *(list(row.cells) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines: list[tuple[str, str]] = []
    for index, each in enumerate(cells):
        line = "  ".join(
            cell.rjust(width) if column in table.numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(each, widths, strict=True))
        ).rstrip()
        style = BOLD if index == 0 else table.rows[index - 1].colour
        if look is not None and index == look.chosen + 1:
            style += REVERSE
        lines.append((style, line))
    return lines


def painted(line: str, style: str) -> str:
    """Return a line in a style."""
    return f"{style}{line}{PLAIN}" if style else line


def plain_text(history: History) -> str:
    """Return the state for a script or a pipe: the head and all peers, servers and workers."""
    lines = head_lines(history)
    for make in (peers, servers, workers, causes):
        table = make(history)
        if table.rows:
            lines += ["", *(line for _, line in table_lines(table, None))]
    return "".join(f"{line}\n" for line in lines)
