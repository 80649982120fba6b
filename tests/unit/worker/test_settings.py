"""The worker's settings: defaults, rules, and messages that say what to do."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from opsagent_operator.api.duration import format_duration
from opsagent_worker.settings import Settings, SettingsError

DOCUMENT = Path(__file__).parents[3] / "docs" / "worker.md"

REQUIRED = {
    "REDIS_URL": "redis://:p%40ss@queue:6379/0",
    "VERCEL_TOKEN": "a-vercel-token",
    "VERCEL_TEAM_ID": "team_1",
}


def problems(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load({**REQUIRED, **environment})
    return caught.value.problems


def test_three_variables_are_enough() -> None:
    settings = Settings.load(REQUIRED)

    assert settings.vercel_team_id == "team_1"
    assert settings.poll_interval == timedelta(seconds=5)
    assert settings.log_level == "INFO"
    assert settings.agents == ("ops", "ops_agent")


def test_every_missing_variable_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({})

    assert [problem.split()[0] for problem in caught.value.problems] == [
        "REDIS_URL",
        "VERCEL_TEAM_ID",
        "VERCEL_TOKEN",
    ]
    assert all(" is missing. " in problem for problem in caught.value.problems)


def test_a_variable_that_is_blank_counts_as_missing() -> None:
    (problem,) = problems(VERCEL_TOKEN=" \n")

    assert problem.startswith("VERCEL_TOKEN is missing. Token for the Vercel API; create one under")


def test_missing_and_wrong_variables_are_listed_together() -> None:
    listed = problems(
        VERCEL_TEAM_ID="", OPSAGENT_LEASE="soon", OPSAGENT_CONCURRENCY="many", LOG_LEVEL="loud"
    )

    assert [problem.partition(" ")[0].rstrip(":") for problem in listed] == [
        "LOG_LEVEL",
        "OPSAGENT_CONCURRENCY",
        "OPSAGENT_LEASE",
        "VERCEL_TEAM_ID",
    ]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("WORKER_BUILTINS", "deploy,restart", "restart: choose from deploy, monitor, alert,"),
        ("WORKER_BUILTINS", "none,deploy", "none: choose from deploy"),
        (
            "REDIS_URL",
            "http://queue",
            "must start with redis://, rediss:// (TLS), unix://, or with redis+sentinel://",
        ),
        ("REDIS_URL", "rediss://queue?ssl_cert_reqs=none", "switches off TLS verification"),
        ("OPSAGENT_REDIS_CA_FILE", "/no/such/file", "does not use TLS"),
        ("WORKER_POLL_INTERVAL", "1h", "must be from 100ms to 5m"),
        ("OPSAGENT_CONCURRENCY", "0", "greater than or equal to 1"),
        ("OPSAGENT_WORKER", "ops-agent", "should match pattern"),
        ("MONITOR_SERVICE_URLS", "web", "'web' is not written name=URL"),
        ("MONITOR_SERVICE_URLS", "web=ftp://web", "only http, https, tcp"),
        ("PAGERDUTY_ROUTING_KEY", "short", "must have 32 characters"),
        ("ALERT_DEDUP_WINDOW", "2d", "is not a duration"),
        ("SLACK_WEBHOOK_URL", "hooks.slack.com/x", "must start with http:// or https://"),
        ("OPSAGENT_RETRY_MAX_BACKOFF", "1s", "not be shorter than OPSAGENT_RETRY_BACKOFF"),
    ],
)
def test_a_wrong_value_is_explained(name: str, value: str, reason: str) -> None:
    (problem,) = problems(**{name: value})

    assert reason in problem


@pytest.mark.parametrize("builtins", ["none", "monitor,alert"])
def test_without_built_in_deployments_nothing_of_vercel_is_needed(builtins: str) -> None:
    settings = Settings.load({"REDIS_URL": "redis://queue", "WORKER_BUILTINS": builtins})

    assert settings.vercel_token is None
    assert "deploy" not in settings.builtins


def test_a_deploy_handler_of_ones_own_needs_nothing_of_vercel() -> None:
    settings = Settings.load({"REDIS_URL": "redis://queue"}, own_types={"deploy"})

    assert settings.vercel_team_id is None


def test_no_message_repeats_a_secret() -> None:
    listed = problems(
        REDIS_URL="http://:hunter2hunter2@queue", SLACK_WEBHOOK_URL="hooks.example/hunter2hunter2"
    )

    assert len(listed) == 2
    assert "hunter2" not in " ".join(listed)


def test_insecure_tls_is_accepted_only_on_request() -> None:
    settings = Settings.load(
        {
            **REQUIRED,
            "REDIS_URL": "rediss://queue?ssl_cert_reqs=none",
            "OPSAGENT_REDIS_ALLOW_INSECURE_TLS": "true",
        }
    )

    assert settings.redis_allow_insecure_tls


def test_agents_that_are_set_but_empty_mean_every_task() -> None:
    assert Settings.load({**REQUIRED, "OPSAGENT_AGENTS": ""}).agents == ()
    assert Settings.load({**REQUIRED, "OPSAGENT_AGENTS": "a, b,"}).agents == ("a", "b")


def test_a_service_may_have_a_password_which_is_hidden() -> None:
    url = "rediss://user:a%40password@cache:6380/0"
    settings = Settings.load({**REQUIRED, "MONITOR_SERVICE_URLS": f"cache={url}"})

    assert settings.service_urls == {"cache": url}
    assert settings.redactor().text("a@password a%40password") == "[redacted] [redacted]"


def test_a_trailing_newline_as_secrets_from_files_have_it_is_dropped() -> None:
    settings = Settings.load({**REQUIRED, "VERCEL_TOKEN": "a-vercel-token\n"})

    assert settings.vercel_token == SecretStr("a-vercel-token")


def test_neither_text_nor_repr_of_the_settings_shows_a_secret() -> None:
    settings = Settings.load({**REQUIRED, "SENTRY_DSN": "https://key-of-sentry@sentry.example/1"})

    shown = f"{settings} {settings!r} {settings.model_dump()}"
    assert not [word for word in ("a-vercel-token", "p%40ss", "key-of-sentry") if word in shown]


def test_the_redactor_knows_every_secret_and_the_password_in_either_spelling() -> None:
    settings = Settings.load(
        {**REQUIRED, "ALERT_WEBHOOK_URL": "https://hooks.example/a-secret-path"}
    )
    redactor = settings.redactor()

    for text in (
        "token a-vercel-token",
        "url redis://:p%40ss@queue:6379/0",
        "password p%40ss",
        "password p@ss",
        "to https://hooks.example/a-secret-path",
        "POST /a-secret-path",
    ):
        assert redactor.text(text).endswith("[redacted]"), text


def test_a_sentinel_url_is_accepted_and_its_passwords_are_hidden() -> None:
    url = "redis+sentinel://:first-word@one:26379,two:26379/tasks/0?sentinel_password=2nd%2Dword"
    settings = Settings.load({**REQUIRED, "REDIS_URL": url})
    assert settings.redactor().text("first-word 2nd-word 2nd%2Dword") == " ".join(
        ["[redacted]"] * 3
    )


def documented(field: FieldInfo) -> str:
    """The row of docs/worker.md that describes a setting."""
    match field.default:
        case _ if field.alias in REQUIRED:
            default = "required"
        case timedelta() as duration:
            default = f"`{format_duration(duration)}`"
        case bool() as switch:
            default = f"`{str(switch).lower()}`"
        case tuple() as names if names:
            default = f"`{','.join(names)}`"
        case str() | int() as value if value != "":
            default = f"`{value}`"
        case _:
            default = ""
    return f"| `{field.alias}` | {default} | {field.description} |".replace("|  |", "| |")


@pytest.mark.parametrize("field", Settings.model_fields.values(), ids=lambda field: field.alias)
def test_each_setting_is_documented_with_its_default_and_meaning(field: FieldInfo) -> None:
    assert documented(field) in DOCUMENT.read_text(encoding="utf-8").splitlines()
