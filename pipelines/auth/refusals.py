"""What Entra's refusals mean, and what to do about each.

Source of the codes: Microsoft, "Microsoft Entra authentication and authorization error
codes" (AADSTS), and the certificate errors that Microsoft's own client libraries react to.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from pipelines.errors import SignInError

_WRONG_CERTIFICATE = (
    "upload the certificate that goes with tenant.credential.certificate to the app registration"
)
_NEW_CERTIFICATE = (
    "make a new certificate, upload it to the app registration, and name it in tenant.credential"
)
_WRONG_TENANT = "check tenant.id (Directory ID on the app registration's overview page) and tenant.cloud"
_WRONG_CLOUD = "check tenant.cloud: the application must be registered in the cloud that it serves"
_NO_EXCHANGE = "check that the tenant has Exchange Online, and tenant.cloud"
_CONSENT = "grant admin consent for the application's permissions; `mailover setup` prints the steps"

REFUSALS: dict[int, tuple[str, str]] = {
    7000215: (
        "the client secret is wrong",
        "put the secret's Value, not its Secret ID, into the variable named by tenant.credential.secret_env",
    ),
    7000222: (
        "the client secret has expired",
        "create a new one under Certificates & secrets of the app registration and set the variable anew",
    ),
    7000216: ("the application must prove itself with a secret or a certificate", "set tenant.credential"),
    7000218: ("the application must prove itself with a secret or a certificate", "set tenant.credential"),
    700016: (
        "the application is not known in this tenant",
        "check tenant.client_id (Application ID, not an object ID), tenant.id and tenant.cloud",
    ),
    7000229: ("the application has no service principal in this tenant", _CONSENT),
    700027: ("the certificate is not one of the application's, or has expired", _WRONG_CERTIFICATE),
    700030: ("the certificate is not one of the application's", _WRONG_CERTIFICATE),
    700024: (
        "the signed request is outside its time range",
        "set this computer's clock; it must be right within five minutes",
    ),
    7000214: ("the certificate has been revoked", _NEW_CERTIFICATE),
    7000277: ("the certificate has been revoked", _NEW_CERTIFICATE),
    7000274: ("the certificate has expired or is not valid yet", _NEW_CERTIFICATE),
    1000502: ("the certificate has expired or is not valid yet", _NEW_CERTIFICATE),
    7000112: (
        "the application is disabled in this tenant",
        "enable it under Enterprise applications, Properties, Enabled for users to sign in",
    ),
    90002: ("there is no such tenant in this cloud", _WRONG_TENANT),
    900021: ("the tenant id is not valid", _WRONG_TENANT),
    900023: ("the tenant id is neither a GUID nor a domain of a tenant", _WRONG_TENANT),
    50059: ("the request names no tenant", _WRONG_TENANT),
    50194: ("the application is of one tenant and was asked for through another", _WRONG_TENANT),
    900382: ("the application belongs to another cloud", _WRONG_CLOUD),
    900432: ("the application belongs to another cloud", _WRONG_CLOUD),
    70011: ("the scope is not valid in this cloud", _WRONG_CLOUD),
    1002012: ("the scope is not valid for an application", _WRONG_CLOUD),
    500011: ("the resource is not known in this tenant", _NO_EXCHANGE),
    650052: ("the tenant has no subscription to the resource", _NO_EXCHANGE),
    650057: (
        "the resource is not among the application's permissions",
        "add its permissions to the app registration, grant admin consent; `mailover setup` prints the steps",
    ),
    501051: ("the application has no role for the resource", _CONSENT),
    65001: ("nobody has consented to the application's permissions", _CONSENT),
    90094: ("an administrator has not consented yet", _CONSENT),
    53003: (
        "a Conditional Access policy blocks the application",
        "exclude the application from the policy, or add this computer's address to its trusted locations",
    ),
    530035: (
        "the tenant's security defaults block this sign-in",
        "replace security defaults by Conditional Access policies that allow the application",
    ),
    50034: ("the account is not in this tenant", _WRONG_TENANT),
}
_UNKNOWN = "look the code up at https://login.microsoftonline.com/error, and try `mailover doctor`"
_LONGEST_EXPLANATION = 300


def refusal(answer: Mapping[str, Any], authority: str, *, hide: tuple[SecretStr, ...] = ()) -> SignInError:
    """The error for an OAuth error ``answer``; values in ``hide`` and signed tokens never get into it."""
    description = str(answer.get("error_description") or "")
    number = _code(answer, description)
    code = f"AADSTS{number}" if number else None
    meaning, remedy = REFUSALS.get(number or 0, ("", _UNKNOWN))
    if not meaning:
        meaning = _public(description or str(answer.get("error") or "no reason given"), hide)
    named = f" ({code})" if code and code not in meaning else ""
    return SignInError(f"{authority} refused to issue a token: {meaning}{named}", remedy=remedy, code=code)


def _code(answer: Mapping[str, Any], description: str) -> int | None:
    found = re.search(r"AADSTS(\d{4,9})", description)
    if found:
        return int(found[1])
    codes = answer.get("error_codes")
    return codes[0] if isinstance(codes, list) and codes and isinstance(codes[0], int) else None


def _public(description: str, hide: tuple[SecretStr, ...]) -> str:
    text = description
    for secret in hide:
        text = text.replace(secret.get_secret_value(), "…")
    text = re.sub(r"eyJ[\w-]+(\.[\w-]+)*", "…", text)
    # Trace and correlation ids follow on lines of their own.
    first = text.splitlines()[0] if text.strip() else "no reason given"
    return "".join(letter for letter in first if letter.isprintable())[:_LONGEST_EXPLANATION]
