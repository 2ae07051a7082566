"""Why messages end in quarantine: what each reason means, and what a person can do about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason as sources name it, in words for a person."""

    meaning: str
    remedy: str


REASONS = {
    "empty-answer": Reason(
        "the server lists the message and sends nothing for it",
        "wait: often over within the hour; if it stays, open the message in Outlook, then `retry`",
    ),
    "placeholder": Reason(
        "Exchange could not convert the message and sent a notice in its place",
        "look at it in Outlook; reading the mailbox over Graph may bring it",
    ),
    "refused": Reason(
        "the server refuses to send this one message",
        "the detail has its words; if it stays, open the message in Outlook, then `retry`",
    ),
    "connection-lost": Reason(
        "the server ends the connection whenever the message is asked for",
        "wait; if it stays, open the message in Outlook; one that fails there too is for Microsoft's support",
    ),
    "truncated": Reason(
        "the message came incomplete each time it was asked for; what there is of it was kept",
        "wait; if it stays, look at the message in Outlook; `accept` what was kept if that is all of it",
    ),
    "conversion-failed": Reason(
        "Exchange cannot make MIME of the message; its properties and attachments were kept instead",
        "`accept` what was kept to have the message in the lake; it gives way should the MIME come",
    ),
    "corrupt": Reason(
        "the message is damaged in the mailbox and cannot be read whole",
        "open it in Outlook; if that fails too, ask Microsoft's support, or `accept` a form kept of it",
    ),
    "not-found": Reason(
        "the server lists the message and does not find its content",
        "wait; if it stays, open the message in Outlook, then `retry`",
    ),
    "unavailable": Reason(
        "the server fails whenever this one message is asked for",
        "wait; if it stays, open the message in Outlook; one that fails there too is for Microsoft's support",
    ),
    "unreadable": Reason(
        "the bytes came, and Mailover could not read them; they are kept",
        "`export` it and report it; a newer Mailover reads it by itself at the next attempt",
    ),
    "not-in-files": Reason(
        "the message was part of an import, and is not in the files of a later one",
        "import the files again that held it",
    ),
}


def reason_of(name: str) -> Reason:
    """What the reason means; for a reason of a newer source, what always holds."""
    return REASONS.get(name) or Reason("the server did not hand the message over", "wait, or `retry`")
