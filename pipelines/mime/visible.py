"""The text a reader sees in HTML: for full-text search and for the message key."""

import html
import re

from pipelines.mime.spaces import folded

_TAG = re.compile(r"<([/!?a-zA-Z][^<>]*)>")
_PHRASING = re.compile(
    r"</?(?:a(?:bbr)?|b(?:d[io]|ig)?|c(?:ite|ode)|em|font|i(?:ns)?|kbd|mark|o:p|q|s(?:mall|pan|trong|u[bp])?|tt|u|wbr)"
    r"(?:\s[^<>]*)?>",
    re.IGNORECASE,
)
_HIDDEN = re.compile(r"<(script|style|title)\b", re.IGNORECASE)
_HIDDEN_END = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in ("script", "style", "title")}
_LINK = re.compile(r"""(?:href|src|HREF|SRC|Href|Src)\s*=\s*(?:"([^"]*)|'([^']*)|([^\s"'>]+))""")


def visible_text(markup: str) -> str:
    """Text content with white space folded; scripts, styles, comments and tags left out."""
    if "<" in markup:
        markup = _TAG.sub(" ", _PHRASING.sub("", _shown(markup)))
    if "&" in markup:
        markup = html.unescape(markup)
    return folded(markup)


def essence(markup: str) -> list[str]:
    """What of HTML counts for the message key: its text, then each ``href`` and ``src``; spaces folded."""
    pieces = _TAG.split(_shown(markup))
    tags = "\n".join([tag for tag in pieces[1::2] if "=" in tag])
    words = pieces[::2]
    if "&nbsp;" not in markup:  # running text needs no more than this; any other is split into words below
        words = list(filter(None, map(str.strip, words)))
    found = [" ".join(words), *("".join(link) for link in _LINK.findall(tags))]
    return [folded(html.unescape(one) if "&" in one else one) for one in found]


def _shown(markup: str) -> str:
    return _without_hidden(_without_comments(markup) if "<!--" in markup else markup)


def _without_comments(markup: str) -> str:
    kept, position = [], 0
    while (start := markup.find("<!--", position)) >= 0:
        kept.append(markup[position:start])
        end = markup.find("-->", start + 4)
        if end < 0:  # shown, so that what follows still counts
            position = start + 4
            break
        position = end + 3
    kept.append(markup[position:])
    return " ".join(kept)


def _without_hidden(markup: str) -> str:
    kept, position = [], 0
    while match := _HIDDEN.search(markup, position):
        kept.append(markup[position : match.start()])
        end = _HIDDEN_END[match[1].lower()].search(markup, match.end())
        if end is None:
            position = match.end()
            break
        position = end.end()
    if not kept:
        return markup
    kept.append(markup[position:])
    return " ".join(kept)
