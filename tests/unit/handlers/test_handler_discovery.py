"""Which handlers a worker finds, and what it says about those it cannot offer."""

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from opsagent_worker.handlers.discovery import GROUP, discover
from opsagent_worker.settings import SettingsError
from opsagent_worker.startup import load

RESIZE = """
    from opsagent_worker import task

    @task("resize")
    async def resize() -> None: ...
"""

Modules = Callable[[Mapping[str, str]], None]


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Modules:
    """Writes modules, each by name, where they can be imported from until the end of the test."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(sources: Mapping[str, str]) -> None:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(dedent(source))

    return write


def install(folder: Path, **points: str) -> None:
    """What an installer leaves of a package that has these entry points."""
    package = folder / "shop-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (package / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))


def test_a_module_offers_what_is_decorated_in_it_or_imported_into_it(modules: Modules) -> None:
    modules(
        {
            "images_d1": RESIZE,
            "all_d1": """
                from images_d1 import resize
                from opsagent_worker import task

                @task("mail")
                def send(payload: dict) -> None: ...
                again = send
                def helper() -> None: ...
            """,
        }
    )

    found = discover(["all_d1", "images_d1"])

    assert not found.problems
    assert {name: handler.name for name, handler in found.handlers.items()} == {
        "resize": "images_d1.resize",
        "mail": "all_d1.send",
    }


def test_entry_points_name_a_module_or_a_function(modules: Modules, tmp_path: Path) -> None:
    modules({"images_d2": RESIZE, "mail_d2": RESIZE.replace("resize", "mail")})
    install(tmp_path, mail="mail_d2:mail", images="images_d2")

    found = discover([])

    assert not found.problems
    assert set(found.handlers) == {"mail", "resize"}


def test_everything_that_is_wrong_is_listed_at_once(modules: Modules, tmp_path: Path) -> None:
    modules(
        {
            "images_d3": RESIZE,
            "copy_d3": RESIZE,
            "broken_d3": "1 / 0",
            "quits_d3": "import sys; sys.exit(3)",
            "empty_d3": "def resize() -> None: ...",
            "unclear_d3": """
                from opsagent_worker import task

                @task("x")
                def x(payload): ...
            """,
        }
    )
    install(tmp_path, shop="shop_d3.tasks:resize")

    found = discover(
        ["images_d3", "copy_d3", "broken_d3", "quits_d3", "empty_d3", "unclear_d3", "absent_d3"]
    )

    assert set(found.handlers) == {"resize"}
    expected = [
        "module 'copy_d3': copy_d3.resize and images_d3.resize both handle tasks of type 'resize'",
        "module 'broken_d3' cannot be imported: ZeroDivisionError: division by zero",
        "module 'quits_d3' cannot be imported: SystemExit: 3",
        "module 'empty_d3' has no function that is decorated with @task",
        "module 'unclear_d3': unclear_d3.x has a parameter 'payload' that is not annotated",
        "module 'absent_d3' cannot be imported: No module named 'absent_d3'. Modules are found on",
        "entry point 'shop' (shop_d3.tasks:resize) cannot be imported: No module named 'shop_d3'",
    ]
    assert len(found.problems) == len(expected)
    for problem, part in zip(found.problems, expected, strict=True):
        assert part in problem


def test_problems_of_handlers_and_of_settings_are_listed_together() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"WORKER_HANDLERS": "absent_d4", "OPSAGENT_LEASE": "soon"})

    listed = str(caught.value)
    for name in ("REDIS_URL", "VERCEL_TOKEN", "OPSAGENT_LEASE", "WORKER_HANDLERS"):
        assert f"- {name}" in listed


def test_a_handler_alone_can_keep_the_worker_from_starting() -> None:
    with pytest.raises(SettingsError, match=r"1 setting needs attention\n  - WORKER_HANDLERS"):
        load(
            {
                "REDIS_URL": "redis://queue",
                "WORKER_BUILTINS": "none",
                "WORKER_HANDLERS": "absent_d5",
            }
        )


def test_a_deploy_handler_that_is_found_makes_vercel_optional(modules: Modules) -> None:
    modules({"deploys_d6": RESIZE.replace("resize", "deploy")})

    settings, own = load({"REDIS_URL": "redis://queue", "WORKER_HANDLERS": " deploys_d6 ,"})

    assert set(own) == {"deploy"}
    assert settings.handlers == ("deploys_d6",)
    assert settings.vercel_token is None
