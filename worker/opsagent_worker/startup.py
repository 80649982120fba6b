"""What a worker is started with: its settings and the handlers that users bring, checked together."""

import os
from collections.abc import Mapping

from opsagent_worker.handlers.definition import HandlerDefinition
from opsagent_worker.handlers.discovery import discover
from opsagent_worker.settings import Settings, SettingsError, handler_modules


def load(
    environment: Mapping[str, str] = os.environ,
) -> tuple[Settings, Mapping[str, HandlerDefinition]]:
    """The settings, and the users' handlers by type. Imports the modules that `environment` names.

    Raises:
        SettingsError: a variable is missing or wrong, or a handler is; it lists all of them.
    """
    found = discover(handler_modules(environment))
    problems = list(found.problems)
    try:
        settings = Settings.load(environment, own_types=found.handlers)
    except SettingsError as error:
        raise SettingsError([*error.problems, *problems]) from None
    if problems:
        raise SettingsError(problems)
    return settings, found.handlers
