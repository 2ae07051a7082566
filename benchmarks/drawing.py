"""Lines in a chart, as SVG that any Markdown page can show."""

import math
from collections.abc import Mapping, Sequence
from html import escape

Line = Sequence[tuple[float, float]]
"""Points from left to right, all above zero."""

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 360, 64, 40, 150, 48
_COLOURS = ("#1f6feb", "#1a7f37", "#bf8700", "#cf222e", "#8250df", "#57606a")


def draw_lines(lines: Mapping[str, Line], title: str, *, across: str, key: str) -> str:
    """A chart with both axes logarithmic: work that grows with its size is a straight line.

    ``across`` names the horizontal axis, ``key`` what the names of the lines are.
    """
    xs = [x for line in lines.values() for x, _ in line]
    ys = [y for line in lines.values() for _, y in line]
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    x_of, y_of = _Axis(xs, _LEFT, right), _Axis(ys, bottom, _TOP)
    parts = [f'<text x="{_LEFT}" y="20" font-weight="bold">{escape(title)}</text>']
    for tick in y_of.ticks():
        y = y_of(tick)
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:,.10g}</text>')
    parts += [
        f'<text x="{x_of(x):.1f}" y="{bottom + 18}" text-anchor="middle">{x:,.10g}</text>'
        for x in sorted(set(xs))
    ]
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text x="{right + 16}" y="{_TOP}">{escape(key)}</text>')
    for number, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = _TOP + 22 + number * 20
        parts.append(f'<rect x="{right + 16}" y="{at - 9}" width="14" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{right + 36}" y="{at}">{escape(name)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12" fill="#24292f"><title>{escape(title)}</title>'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


class _Axis:
    """Values to places, by their logarithms."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        self._low, self._high = min(values), max(values)
        self._first, self._last = first, last

    def __call__(self, value: float) -> float:
        span = math.log(self._high / self._low) or 1.0
        return self._first + (self._last - self._first) * math.log(value / self._low) / span

    def ticks(self) -> list[float]:
        """One, two and five times each power of ten that is in between."""
        powers = range(math.floor(math.log10(self._low)), math.ceil(math.log10(self._high)) + 1)
        candidates = (base * 10.0**power for power in powers for base in (1, 2, 5))
        return [each for each in candidates if self._low <= each <= self._high]
