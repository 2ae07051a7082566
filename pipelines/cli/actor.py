"""Who the journal says has done it."""

import getpass
import os


def actor() -> str:
    """The person at the terminal: ``MAILOVER_ACTOR``, else the user's name on this computer."""
    named = os.environ.get("MAILOVER_ACTOR", "").strip()
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
