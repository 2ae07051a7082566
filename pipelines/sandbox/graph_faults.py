"""Faults at the Graph door that do not depend on what is asked."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from pipelines.sandbox.faults import Fault, FaultKind, RetryAfter
from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.graph_gate import refused_token


async def misbehave(fault: Fault) -> None:
    """Wait, or raise ``GraphError``; what is left of the kinds concerns the answer."""
    match fault.kind:
        case FaultKind.DELAY:
            await asyncio.sleep(fault.seconds)
        case FaultKind.EXPIRE:
            raise refused_token()
        case FaultKind.THROTTLE:
            raise GraphError(429, "ApplicationThrottled", headers=_wait(fault, RetryAfter.SECONDS))
        case FaultKind.REFUSE:
            raise GraphError(403, "ErrorAccessDenied")
        case FaultKind.UNAVAILABLE:
            raise GraphError(503, "")
        case FaultKind.PLACEHOLDER:
            raise GraphError(500, "ErrorMimeContentConversionFailed")
        case FaultKind.ERROR:
            raise GraphError(fault.status, fault.code, headers=_wait(fault, RetryAfter.NONE))


def _wait(fault: Fault, otherwise: RetryAfter) -> dict[str, str]:
    """How long to wait, told in the way that the fault says."""
    match fault.retry_after or otherwise:
        case RetryAfter.SECONDS:
            return {"Retry-After": f"{fault.seconds:g}"}
        case RetryAfter.DATE:
            moment = datetime.now(UTC) + timedelta(seconds=fault.seconds)
            return {"Retry-After": format_datetime(moment, usegmt=True)}
    return {}
