"""A doctor's report as lines for a person."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

import click

from pipelines.cli.output import number
from pipelines.doctor import Finding, Report, State

_MARKS = {State.OK: "✓", State.WARNING: "!", State.FAILURE: "✗", State.SKIPPED: "–"}
_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILURE: "red", State.SKIPPED: "bright_black"}
_QUIET = (State.OK, State.SKIPPED)
_MOST_SUBJECTS, _MOST_LINES, _MOST_COMMANDS = 5, 10, 8
"""What is shown of many alike; the JSON has all of it."""


def render(report: Report, width: int) -> str:
    """The report by area. Findings that say the same stand in one line; PowerShell lines are never broken."""
    column = max(len(finding.check) for finding in report.findings) + 6
    lines: list[str] = []
    for area, findings in groupby(report.findings, key=lambda finding: finding.area):
        lines += [click.style(area.capitalize(), bold=True), *_area(list(findings), column, width), ""]
    counted = [f"{number(count)} {state}" for state, count in report.count().items() if count]
    return "\n".join([*lines, ", ".join(counted)])


def _area(findings: Sequence[Finding], column: int, width: int) -> Iterator[str]:
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for each in findings:
        groups.setdefault((each.check, each.state, each.what, each.remedy or ""), []).append(each)
    shown, left_out = Counter[str](), 0
    for alike in groups.values():
        quiet = alike[0].state in _QUIET
        shown[alike[0].check] += quiet
        if quiet and shown[alike[0].check] > _MOST_LINES:
            left_out += len(alike)
        else:
            yield from _lines(alike, column, width)
    if left_out:
        yield f"{' ' * column}and {number(left_out)} more that need nothing: --json lists them"


def _lines(alike: Sequence[Finding], column: int, width: int) -> Iterator[str]:
    first, indent = alike[0], " " * column
    mark = click.style(_MARKS[first.state], fg=_COLOURS[first.state], bold=True)
    text = _wrapped(f"{_subjects(alike)}: {first.what}", indent, width)
    yield f"  {mark} {first.check:<{column - 4}}{text.lstrip()}"
    if first.remedy:
        yield _wrapped(f"→ {first.remedy}", indent, width)
    commands = list(dict.fromkeys(command for each in alike for command in each.commands))
    yield from (f"{indent}PS> {command}" for command in commands[:_MOST_COMMANDS])
    if len(commands) > _MOST_COMMANDS:
        yield f"{indent}and {number(len(commands) - _MOST_COMMANDS)} more: --json lists them"


def _subjects(alike: Sequence[Finding]) -> str:
    names = ", ".join(each.subject for each in alike[:_MOST_SUBJECTS])
    more = len(alike) - _MOST_SUBJECTS
    return f"{names} and {number(more)} more" if more > 0 else names


def _wrapped(text: str, indent: str, width: int) -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
