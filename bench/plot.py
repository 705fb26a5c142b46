"""A plot of ratios as SVG: a bar for each workload and contestant, on a scale where half and double are equally far from one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import log2

WIDTH = 860
LEFT = 130  # the room for names
RIGHT = 60  # and for figures
BAR = 9
GAP = 8
TOP = 62
COLOURS = ("#2f6f9f", "#d98a29", "#6b8e4e", "#8a6fb0", "#999999")


def plot(title: str, ratios: Mapping[str, Mapping[str, float]], names: Sequence[str], baseline: str) -> str:
    """Return the picture. ratios: by workload and contestant; names: the contestants that are shown."""
    values = [value for row in ratios.values() for value in row.values()] or [1.0]
    low = min(-1.0, *(log2(value) for value in values))
    high = max(1.0, *(log2(value) for value in values))
    low, high = low - 0.1, high + 0.1

    def place(value: float) -> float:
        return LEFT + (log2(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    group = BAR * max(len(names), 1) + GAP
    height = TOP + group * len(ratios) + 24
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    x = 10.0
    for index, name in enumerate(names):
        lines.append(f'<rect x="{x:.0f}" y="28" width="10" height="10" fill="{COLOURS[index % len(COLOURS)]}"/>')
        lines.append(f'<text x="{x + 14:.0f}" y="37">{escape(name)}</text>')
        x += 30 + 7 * len(name)
    for power in range(int(low) - 1, int(high) + 2):
        if low <= power <= high:
            at, tick = place(2.0**power), f"{2.0**power:g}"
            stroke = "#333333" if power == 0 else "#dddddd"
            lines.append(f'<line x1="{at:.1f}" y1="{TOP - 6}" x2="{at:.1f}" y2="{height - 20}" stroke="{stroke}"/>')
            lines.append(f'<text x="{at:.1f}" y="{TOP - 10}" text-anchor="middle">{baseline if power == 0 else tick}</text>')
    y = float(TOP)
    one = place(1.0)
    for workload, row in ratios.items():
        middle = y + BAR * len(names) / 2 + 4
        lines.append(f'<text x="{LEFT - 8}" y="{middle:.1f}" text-anchor="end">{escape(workload)}</text>')
        for index, name in enumerate(names):
            if name in row:
                at = place(row[name])
                left, width = min(at, one), max(abs(at - one), 0.5)
                colour = COLOURS[index % len(COLOURS)]
                lines.append(f'<rect x="{left:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR - 1}" fill="{colour}"/>')
                lines.append(f'<text x="{max(at, one) + 4:.1f}" y="{y + BAR - 1.5:.1f}" font-size="9">{row[name]:.2f}</text>')
            y += BAR
        y += GAP
    return "\n".join([*lines, "</svg>"]) + "\n"
