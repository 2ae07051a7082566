"""What grows with the work, as charts: ``make bench-plots`` draws them into ``docs/``.

    python -m benchmarks.curves docs                  1,000 to 1,000,000 messages, 1 to 10,000 mailboxes
    python -m benchmarks.curves docs --messages 100000 --mailboxes 1000

The figures are those of ``benchmarks.growth`` and ``benchmarks.many_mailboxes``, CPU time in a warm
process. They are kept beside the charts in ``curves.json``, from which ``--drawn`` draws them again.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.drawing import draw_lines
from benchmarks.growth import Row, rows_to
from benchmarks.many_mailboxes import SIZES, measure

Rows = Sequence[Row]
STORING = {
    "a first message": "first_ms_per_message",
    "20 new ones": "round_ms",
    "an idle round": "idle_ms",
}
FINDING = {
    "two words, median": "words_ms",
    "two words, p95": "words_p95_ms",
    "fields, median": "field_ms",
    "fields, p95": "field_p95_ms",
    "reading a message": "read_ms",
}
MAILBOXES = {"a pass": "pass_cpu_ms", "in a Dagster run": "run_cpu_ms", "a tick for all": "tick_cpu_ms"}


def draw(growth: Rows, many: Rows, folder: Path) -> None:
    """The charts, as SVG files."""
    charts = {
        "growth-storing": (growth, STORING, "messages", "Milliseconds of CPU, by messages in the mailbox"),
        "growth-finding": (growth, FINDING, "messages", "Milliseconds of CPU to find, by messages indexed"),
        "growth-mailboxes": (
            many,
            MAILBOXES,
            "mailboxes",
            "Milliseconds of CPU of a mailbox's idle round, by mailboxes",
        ),
    }
    for name, (rows, lines, across, title) in charts.items():
        points = {line: [(row[across], row[column]) for row in rows] for line, column in lines.items()}
        chart = draw_lines(points, title, across=across, key="milliseconds of")
        (folder / f"{name}.svg").write_text(chart)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the charts go")
    parser.add_argument("--messages", type=int, default=1_000_000, help="in the largest mailbox")
    parser.add_argument("--mailboxes", type=int, default=10_000, help="of the largest tenant")
    parser.add_argument("--drawn", action="store_true", help="draw from curves.json, measure nothing")
    options = parser.parse_args()
    kept = options.folder / "curves.json"
    if not options.drawn:
        sizes = [each for each in SIZES if each < options.mailboxes] + [options.mailboxes]
        figures = {"growth": list(rows_to(options.messages)), "mailboxes": measure(sizes)}
        kept.write_text(json.dumps(figures, indent=1) + "\n")
    figures = json.loads(kept.read_text())
    draw(figures["growth"], figures["mailboxes"], options.folder)


if __name__ == "__main__":
    main()
