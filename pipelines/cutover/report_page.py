"""The report: one self-contained page of HTML, readable on a phone."""

import os
from html import escape
from pathlib import Path

from pipelines.cutover.parity import GRADES, Grade, Kind
from pipelines.cutover.report_charts import bars, grid, legend, stacked_area, stacked_bar
from pipelines.cutover.report_data import LAGS, PHASES, ReportData
from pipelines.errors import MailoverError

_GRADES = [*(grade.value for grade in Grade), "not compared"]
_NEEDED, _JOURNAL = 200, 100
"""Rows shown; the counts beside them are whole."""

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 46rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
svg { width: 100%; height: auto; display: block; } svg text { font-size: 13px; fill: currentColor; }
svg text.in { fill: #fff; }
.key { display: inline-flex; align-items: center; gap: .4rem; margin: .3rem 1rem .3rem 0; font-size: .9rem; }
.key i { width: .9rem; height: .9rem; border-radius: 2px; }
.muted { opacity: .7; font-size: .9rem; }
.card { border-left: .3rem solid #9aa3ad; padding: .2rem .8rem; margin: .6rem 0; overflow-wrap: anywhere; }
.card.poor { border-color: #d64545; } .card.investigate { border-color: #e0a526; }
.card p { margin: .1rem 0; }
"""


def render(data: ReportData) -> str:
    """The page."""
    sections = [
        f"<h1>{len(data.mailboxes):,} mailboxes on their way to Graph</h1>",
        f'<p class="muted">as of {data.at:%Y-%m-%d %H:%M} UTC</p>',
        stacked_bar(data.phases, PHASES, "Mailboxes by phase"),
        legend(PHASES, data.phases),
        _timeline(data),
        _waves(data),
        "<h2>Parity</h2>",
        grid([(each.address, each.parity or "not compared") for each in data.mailboxes], "Grade per mailbox"),
        legend(_GRADES, data.grades),
        _needed(data),
        "<h2>Lag</h2>",
        bars({name: data.lags[name] for name in LAGS}, "Time since mailboxes were last read to their end"),
        "<h2>Quarantine</h2>",
        bars(data.quarantine, "Messages in quarantine by reason")
        if data.quarantine
        else '<p class="muted">empty</p>',
        _journal(data),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Mailover report</title><style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>"
    )


def write_report(data: ReportData, path: Path) -> None:
    """Write the page to ``path``, readable by its owner only: it names mailboxes and subjects."""
    content = render(data).encode()
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        raise MailoverError(
            f"{path} cannot be written: {error.strerror}", remedy="name a file in a folder that is yours"
        ) from None


def _timeline(data: ReportData) -> str:
    if not data.timeline:
        return '<p class="muted">Nothing has been moved yet.</p>'
    moments = [(f"{each.at:%Y-%m-%d}", each.phases) for each in data.timeline]
    return f"<h2>Phases over time</h2>{stacked_area(moments, PHASES, 'Phases over time')}"


def _waves(data: ReportData) -> str:
    parts = ["<h2>Waves</h2>"] if data.waves else []
    for wave in data.waves:
        note = wave.stopped or f"{len(wave.waiting)} waiting for clean parities"
        parts += [
            f"<p><b>{escape(wave.name)}</b> <span class='muted'>{escape(note)}</span></p>",
            stacked_bar(wave.phases, PHASES, f"Wave {wave.name}"),
        ]
    return "".join(parts)


def _needed(data: ReportData) -> str:
    if not data.needed:
        return '<p class="muted">No difference needs a person.</p>'
    heading = "1 difference needs" if len(data.needed) == 1 else f"{len(data.needed):,} differences need"
    parts = [f"<h2>{heading} a person</h2>"]
    for address, each in data.needed[:_NEEDED]:
        named = each.subject or each.message_id or each.legacy_id or each.graph_id or ""
        parts.append(
            f'<div class="card {GRADES[Kind(each.kind)].value}">'
            f"<p><b>{escape(each.kind)}</b> {escape(address)}: {escape(each.folder)}</p>"
            f"<p>{escape(named)}</p><p class='muted'>{escape(each.why)} → {escape(each.action)} "
            f"<code>{escape(each.item)}</code></p></div>"
        )
    return "".join(parts)


def _journal(data: ReportData) -> str:
    if not data.journal:
        return ""
    parts = [f"<h2>{len(data.journal):,} transitions</h2>"]
    for address, each in data.journal[:_JOURNAL]:
        grade = f", parity {each.grade}" if each.grade else ""
        parts.append(
            f'<div class="card"><p><b>{escape(address)}</b> {escape(each.phase_from)} → '
            f"{escape(each.phase_to)}{escape(grade)}</p><p class='muted'>{each.at:%Y-%m-%d %H:%M} UTC, "
            f"{escape(each.actor)}: {escape(each.reason)}</p></div>"
        )
    return "".join(parts)
