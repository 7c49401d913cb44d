"""What every test has in common: none asserts a duration, and Hypothesis's own deadline would be one."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# a shell that runs the tests in the background has SIGINT ignored; their children would inherit that, and not end of it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("fastness", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastness")
