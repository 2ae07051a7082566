"""The PowerShell for the tenant: which lines, in which order, and safe whatever an address holds."""

import re

import pytest

from pipelines.config import Config
from pipelines.doctor.powershell import quote
from pipelines.doctor.setup import Step, close_mailboxes, open_mailboxes, script
from tests.auth.entra import CLIENT, TENANT
from tests.doctor.conftest import KIM, LEE, Configure

POP3_BOX = "adele.vance@contoso.com"
FULL_ACCESS = "-User $principal.Identity -AccessRights FullAccess"
EVERY_KIND: list[dict[str, object]] = [
    {"address": KIM, "legacy": "imap"},
    {"address": POP3_BOX, "legacy": "pop3"},
    {"address": LEE},
]


def lines(steps: list[Step]) -> list[str]:
    return [command.line for step in steps for command in step.commands]


def _no_receipts(name: str) -> str:
    return f"-{name}UseProtocolDefaults $false -{name}SuppressReadReceipt $true"


def opened(config: Config) -> list[str]:
    return lines(open_mailboxes(config, config.mailboxes))


def test_every_mailbox_gets_what_its_protocol_needs(configure: Configure) -> None:
    config = configure(mailboxes=EVERY_KIND)
    steps = open_mailboxes(config, config.mailboxes)
    per_mailbox = {
        address: [each.line for step in steps for each in step.commands if each.mailbox == address]
        for address in (KIM, POP3_BOX, LEE)
    }
    member = "Add-DistributionGroupMember -Identity 'Mailover mailboxes' -Member"
    assert per_mailbox == {
        KIM: [
            f"Add-MailboxPermission -Identity '{KIM}' {FULL_ACCESS}",
            f"Set-CASMailbox -Identity '{KIM}' -ImapEnabled $true {_no_receipts('Imap')}",
            f"{member} '{KIM}'",
        ],
        POP3_BOX: [
            f"Add-MailboxPermission -Identity '{POP3_BOX}' {FULL_ACCESS}",
            f"Set-CASMailbox -Identity '{POP3_BOX}' -PopEnabled $true {_no_receipts('Pop')}",
            f"{member} '{POP3_BOX}'",
        ],
        LEE: [f"{member} '{LEE}'"],
    }


def test_the_service_principal_is_made_of_the_enterprise_application(configure: Configure) -> None:
    said = opened(configure())
    app = said.index(f"$app = Get-MgServicePrincipal -Filter \"appId eq '{CLIENT}'\"")
    made = next(place for place, line in enumerate(said) if "New-ServicePrincipal" in line)
    assert made > app
    assert f"-AppId '{CLIENT}' -ObjectId $app.Id" in said[made]
    assert said[0].startswith(f"Connect-MgGraph -TenantId '{TENANT}' ")
    # With an identity that is not there it returns every service principal.
    assert not any("Get-ServicePrincipal -Identity" in line for line in said)


def test_graph_alone_needs_no_role_of_exchange_and_never_a_consent_to_mail_read(configure: Configure) -> None:
    said = opened(configure(mailboxes=[{"address": LEE}]))
    assert not any("AccessAsApp" in line or "Add-MailboxPermission" in line for line in said)
    assert not any("AppRoleAssignment " in line and "Mail.Read" in line for line in said)
    (assigned,) = [line for line in said if "New-ManagementRoleAssignment" in line]
    assert "-Role 'Application Mail.Read' -CustomResourceScope 'Mailover mailboxes'" in assigned


@pytest.mark.parametrize(
    ("cloud", "graph", "exchange"),
    [
        ("public", "", ""),
        ("us-gov-high", " -Environment USGov ", " -ExchangeEnvironmentName O365USGovGCCHigh"),
        ("us-gov-dod", " -Environment USGovDoD ", " -ExchangeEnvironmentName O365USGovDoD"),
        ("china", " -Environment China ", " -ExchangeEnvironmentName O365China"),
    ],
)
def test_the_cloud_is_named_to_both_modules(
    configure: Configure, cloud: str, graph: str, exchange: str
) -> None:
    to_graph, to_exchange, *_rest = opened(configure({"cloud": cloud}))
    assert graph in to_graph
    assert to_exchange == f"Connect-ExchangeOnline{exchange}"


def test_a_role_is_withdrawn_with_the_last_mailbox_of_its_protocol(configure: Configure) -> None:
    config = configure(mailboxes=[*EVERY_KIND, {"address": "sales@contoso.com", "legacy": "imap"}])
    some = close_mailboxes(config, config.select([KIM, POP3_BOX]))
    withdrawn = [line for line in lines(some) if "Remove-MgServicePrincipalAppRoleAssignment" in line]
    assert len(withdrawn) == 1
    assert "'POP.AccessAsApp'" in withdrawn[0]
    assert "Not yet: 1 more of the configured mailboxes" in script(some, [])
    everyone = lines(close_mailboxes(config, config.mailboxes))
    assert sum("Remove-MgServicePrincipalAppRoleAssignment" in line for line in everyone) == 2
    assert sum("Remove-MailboxPermission" in line for line in everyone) == 3
    assert f"Set-CASMailbox -Identity '{KIM}' -ImapEnabled $false" in everyone


_LITERAL = r"'(?:[^'‘’‚‛]|(?:''|‘‘|’’|‚‚|‛‛))*'"
"""A text to PowerShell: any quotation mark ends it unless it stands twice."""


@pytest.mark.parametrize(
    "address", ["o'brien@contoso.com", "o’brien@contoso.com", "‘’‚‛'@contoso.com", "$env:x`n&{#}@contoso.com"]
)
def test_an_address_is_one_word_to_powershell_whatever_it_holds(configure: Configure, address: str) -> None:
    assert re.fullmatch(_LITERAL, quote(address))
    assert re.sub(r"(['‘’‚‛])\1", r"\1", quote(address)[1:-1]) == address
    config = configure(mailboxes=[{"address": address.replace(":", ""), "legacy": "imap"}])
    for steps in (open_mailboxes(config, config.mailboxes), close_mailboxes(config, config.mailboxes)):
        about = [each.line for step in steps for each in step.commands if each.mailbox]
        assert about
        assert not any("@" in re.sub(_LITERAL, "", line) for line in about)


def test_remarks_are_comments_and_commands_are_whole_lines(configure: Configure) -> None:
    config = configure(mailboxes=EVERY_KIND)
    steps = open_mailboxes(config, config.mailboxes)
    written = script(steps, ["A heading"]).splitlines()
    commands = [line for line in written if line and not line.startswith("#")]
    assert commands == lines(steps)
    assert [line for line in written if re.match(r"# \d\. ", line)] == [
        f"# {number}. {step.title}" for number, step in enumerate(steps, 1)
    ]
