"""Microsoft's clouds: where each has its token service, Graph and the mail protocols.

Sources: Microsoft Graph "National cloud deployments", Exchange Online "Office 365 URLs and
IP address ranges". IMAP and POP3 names outside the public cloud come from practice, those
of us-gov-dod are unconfirmed; ``mailover doctor`` tries them.
"""

from dataclasses import dataclass

IMAPS_PORT = 993
POP3S_PORT = 995


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud. Tokens of one are worth nothing in another."""

    authority: str
    graph: str
    """Graph's root without a version: also the audience of its tokens."""
    mail_host: str
    """IMAP on 993, POP3 on 995, TLS from the first byte."""

    @property
    def outlook(self) -> str:
        """The audience of tokens for IMAP and POP3."""
        return f"https://{self.mail_host}"


CLOUDS = {
    "public": Cloud(
        "https://login.microsoftonline.com", "https://graph.microsoft.com", "outlook.office365.com"
    ),
    "us-gov-high": Cloud(
        "https://login.microsoftonline.us", "https://graph.microsoft.us", "outlook.office365.us"
    ),
    "us-gov-dod": Cloud(
        "https://login.microsoftonline.us", "https://dod-graph.microsoft.us", "outlook-dod.office365.us"
    ),
    "china": Cloud(
        "https://login.partner.microsoftonline.cn",
        "https://microsoftgraph.chinacloudapi.cn",
        "partner.outlook.cn",
    ),
}
