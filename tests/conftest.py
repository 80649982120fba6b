"""Fixtures for every suite; each starts its real part only when a test asks for it."""

pytest_plugins = ("fixtures.redis", "fixtures.cluster", "fixtures.chart")
