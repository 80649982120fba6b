"""Fixtures for every suite; each starts its real part only when a test asks for it."""

from hypothesis import settings

pytest_plugins = ("fixtures.redis", "fixtures.cluster", "fixtures.chart")

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")
