"""Charts as SVG text, drawn by hand: no script, no font, nothing loaded from anywhere."""

from collections.abc import Mapping, Sequence
from html import escape

COLOURS = {
    "legacy": "#9aa3ad",
    "shadow": "#e0a526",
    "graph": "#2b7de0",
    "perfect": "#2e9e5b",
    "good": "#8cc63f",
    "investigate": "#e0a526",
    "poor": "#d64545",
    "not compared": "#c9ced4",
}
_PLAIN = "#5b7083"
_WIDTH, _HEIGHT, _BASE = 480, 150, 125
_NAME = 150
"""Room for the name beside a bar."""


def stacked_area(moments: Sequence[tuple[str, Mapping[str, int]]], names: Sequence[str], title: str) -> str:
    """How a whole is divided, over time; ``moments`` are labelled shares, oldest first."""
    most = max((sum(shares.values()) for _, shares in moments), default=0) or 1
    step = _WIDTH / max(len(moments) - 1, 1)
    below = [0.0] * len(moments)
    layers = []
    for name in names:
        above = [low + shares.get(name, 0) for low, (_, shares) in zip(below, moments, strict=True)]
        points = [(i * step, _BASE - value / most * (_BASE - 10)) for i, value in enumerate(above)]
        points += [
            (i * step, _BASE - value / most * (_BASE - 10)) for i, value in reversed(list(enumerate(below)))
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        layers.append(
            f'<polygon points="{path}" fill="{COLOURS[name]}"><title>{escape(name)}</title></polygon>'
        )
        below = above
    first, last = (escape(moments[at][0]) for at in (0, -1))
    labels = f'<text x="0" y="145">{first}</text><text x="{_WIDTH}" y="145" text-anchor="end">{last}</text>'
    return _svg(title, _HEIGHT, "".join(layers) + labels)


def stacked_bar(shares: Mapping[str, int], names: Sequence[str], title: str) -> str:
    """How a whole is divided, now."""
    total = sum(shares.get(name, 0) for name in names) or 1
    at, parts = 0.0, []
    for name in names:
        width = shares.get(name, 0) / total * _WIDTH
        if not width:
            continue
        parts.append(
            f'<rect x="{at:.1f}" y="0" width="{width:.1f}" height="26" fill="{COLOURS[name]}">'
            f"<title>{escape(name)}: {shares[name]}</title></rect>"
        )
        if width > 40:
            parts.append(f'<text class="in" x="{at + 8:.1f}" y="18">{shares[name]}</text>')
        at += width
    return _svg(title, 26, "".join(parts))


def bars(values: Mapping[str, int], title: str) -> str:
    """Counts side by side, each with its name."""
    most = max(values.values(), default=0) or 1
    rows = []
    for row, (name, value) in enumerate(values.items()):
        y, width = row * 28, value / most * (_WIDTH - _NAME - 60)
        rows.append(
            f'<text x="0" y="{y + 18}">{escape(name)}</text>'
            f'<rect x="{_NAME}" y="{y + 4}" width="{width:.1f}" height="20" fill="{_PLAIN}"/>'
            f'<text x="{_NAME + width + 8:.1f}" y="{y + 18}">{value:,}</text>'
        )
    return _svg(title, max(len(values) * 28, 28), "".join(rows))


def grid(cells: Sequence[tuple[str, str]], title: str) -> str:
    """A square per name, coloured by its kind; ``cells`` are names and kinds."""
    side = 16 if len(cells) <= 800 else 8
    across = _WIDTH // side
    squares = [
        f'<rect x="{at % across * side}" y="{at // across * side}" width="{side - 2}" height="{side - 2}" '
        f'fill="{COLOURS[kind]}"><title>{escape(name)}: {escape(kind)}</title></rect>'
        for at, (name, kind) in enumerate(cells)
    ]
    return _svg(title, -(-len(cells) // across) * side, "".join(squares))


def legend(names: Sequence[str], counts: Mapping[str, int]) -> str:
    """What the colours mean, as text too."""
    return "".join(
        f'<span class="key"><i style="background:{COLOURS[name]}"></i>'
        f"{escape(name)} {counts.get(name, 0):,}</span>"
        for name in names
    )


def _svg(title: str, height: int, content: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{content}</svg>"
    )
