"""SASL XOAUTH2, as Exchange Online takes it for IMAP and POP3.

Source: Microsoft, "Authenticate an IMAP, POP or SMTP connection using OAuth".
"""


def xoauth2(user: str, token: str) -> bytes:
    """The initial response for mailbox ``user`` with an access token, not yet base64."""
    return f"user={user}\x01auth=Bearer {token}\x01\x01".encode()
