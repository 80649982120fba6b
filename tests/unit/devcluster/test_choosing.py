"""Which cluster is used: $PROVIDER says, else what this machine has."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from devcluster import provider
from devcluster.failure import ClusterError
from devcluster.provider import ExternalProvider, KindProvider, LocalProvider, chosen

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Says what the machine has, and what the environment asks for."""

    def has(*programs: str, docker: bool, **environment: str) -> None:
        monkeypatch.delenv("PROVIDER", raising=False)
        monkeypatch.delenv("KUBECONFIG", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(provider, "docker_answers", lambda: docker)
        monkeypatch.setattr(shutil, "which", lambda name: name if name in programs else None)

    return has


def test_kind_is_chosen_where_docker_answers_and_kind_can_be_had(machine: Machine) -> None:
    machine("kind", docker=True)
    assert isinstance(chosen(), KindProvider)
    machine("go", docker=True)
    assert isinstance(chosen(), KindProvider)


def test_this_machine_is_chosen_otherwise(machine: Machine) -> None:
    machine("go", docker=False)
    assert isinstance(chosen(), LocalProvider)


def test_what_is_asked_for_wins(machine: Machine) -> None:
    machine("kind", "go", docker=True, PROVIDER="local")
    assert isinstance(chosen(), LocalProvider)


def test_a_kubeconfig_is_used_only_when_asked_for(machine: Machine) -> None:
    machine("go", docker=False, KUBECONFIG="/their/config")
    assert isinstance(chosen(), LocalProvider)
    machine("go", docker=False, KUBECONFIG="/their/config", PROVIDER="external")
    used = chosen()
    assert isinstance(used, ExternalProvider)
    assert used.kubeconfig == Path("/their/config")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("kind", "needs a Docker engine and none answers: start Docker, or use PROVIDER=local"),
        ("external", "needs KUBECONFIG"),
        ("minikube", "is none of local, kind and external"),
    ],
)
def test_what_cannot_be_had_is_told_in_a_sentence(
    machine: Machine, asked: str, sentence: str
) -> None:
    machine(docker=False, PROVIDER=asked)
    with pytest.raises(ClusterError, match=sentence):
        chosen()
