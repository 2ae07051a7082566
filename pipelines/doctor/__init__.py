"""What the tenant must have, and whether it has it: checks with remedies, and the PowerShell for both."""

from pipelines.doctor.findings import Area, Coverage, Finding, Report, State
from pipelines.doctor.visit import Progress, examine

__all__ = ["Area", "Coverage", "Finding", "Progress", "Report", "State", "examine"]
