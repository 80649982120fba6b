"""The operator's settings."""

import pytest

from opsagent_operator.runtime.settings import SettingsError, load_settings


def test_an_empty_environment_serves_all_namespaces_on_port_8080() -> None:
    settings = load_settings()
    assert (settings.watch_namespaces, settings.http_port, settings.log_level) == ((), 8080, "INFO")


@pytest.mark.parametrize(
    ("text", "namespaces"), [("", ()), ("a", ("a",)), (" b , a,,b ", ("a", "b"))]
)
def test_namespaces_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, text: str, namespaces: tuple[str, ...]
) -> None:
    monkeypatch.setenv("OPSAGENT_WATCH_NAMESPACES", text)
    assert load_settings().watch_namespaces == namespaces


def test_everything_that_is_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSAGENT_LOG_LEVEL", "LOUD")
    monkeypatch.setenv("OPSAGENT_HTTP_PORT", "99999")
    monkeypatch.setenv("OPSAGENT_WORKERS", "none")
    with pytest.raises(SettingsError) as error:
        load_settings()
    for name in ("OPSAGENT_LOG_LEVEL", "OPSAGENT_HTTP_PORT", "OPSAGENT_WORKERS"):
        assert name in str(error.value)
