"""How the command speaks: tables and progress for people, JSON for scripts."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def stdout() -> Console:
    """Where results go: as wide as the terminal, unstyled and uncut in a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def stderr() -> Console:
    """Where progress and remarks go."""
    return Console(stderr=True, highlight=False)


def table(
    columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]], title: str | None = None
) -> Table:
    """A table; each column is its name and ``left`` or ``right``."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name, side in columns:
        made.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    return made


def number(value: int) -> str:
    """A count with thousands apart."""
    return f"{value:,}"


def size(value: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def span(seconds: float | None) -> str:
    """A length of time as a person reads it."""
    if seconds is None:
        return "never"
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(value: datetime | None) -> str:
    """An instant, in UTC, to the minute."""
    return f"{value:%Y-%m-%d %H:%M}" if value else "never"
