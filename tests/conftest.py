"""What every test has in common: none asserts a duration, and Hypothesis's own deadline would be one."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("fastness", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastness")
