"""How long Hypothesis looks for a history that breaks an invariant."""

from hypothesis import HealthCheck, settings

PROFILE = "simulation"

_ANY_TIME = settings(deadline=None, suppress_health_check=list(HealthCheck))
SHORT = settings(_ANY_TIME, derandomize=True, database=None)
settings.register_profile(PROFILE, _ANY_TIME, max_examples=2000, stateful_step_count=30)
