"""What the chart renders."""

import re
from collections.abc import Sequence

import pytest
import yaml

from fixtures.chart import NAMESPACE, ROOT, Chart, HelmError, Manifest, example, of_kind, only
from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec

MONITORING = "monitoring.coreos.com/v1"
BOUND = ("Role", "RoleBinding")
CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding")


def container(manifests: Sequence[Manifest]) -> Manifest:
    (found,) = only(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    first: Manifest = found
    return first


def environment(manifests: Sequence[Manifest]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container(manifests)["env"]}


def test_helm_lint_finds_nothing_to_complain_about(chart: Chart) -> None:
    assert "0 chart(s) failed" in chart.run("lint", "--strict", chart.path)


def test_the_chart_carries_exactly_the_custom_resource_definition_of_the_repository(
    chart: Chart,
) -> None:
    source = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    copies = {path.name: path.read_text() for path in (chart.path / "files/crds").iterdir()}
    assert copies == source, "run: make generate"


def test_the_definition_is_rendered_unchanged_but_for_the_order_to_keep_it(chart: Chart) -> None:
    rendered = dict(only(chart.template(), "CustomResourceDefinition"))
    metadata = dict(rendered["metadata"])
    assert metadata.pop("annotations") == {"helm.sh/resource-policy": "keep"}
    (source,) = (ROOT / "crds").glob("*.yaml")
    assert {**rendered, "metadata": metadata} == yaml.safe_load(source.read_text())


def test_the_definition_can_be_left_to_somebody_else(chart: Chart) -> None:
    assert not of_kind(chart.template({"crds": {"install": False}}), "CustomResourceDefinition")


def test_the_operator_runs_under_the_restricted_pod_security_standard(chart: Chart) -> None:
    pod = only(chart.template(), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(chart.template())["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_what_the_operator_may_write_to_is_small_and_never_reaches_a_disk(chart: Chart) -> None:
    pod = only(chart.template(), "Deployment")["spec"]["template"]["spec"]
    assert [volume["emptyDir"] for volume in pod["volumes"]] == [
        {"medium": "Memory", "sizeLimit": "16Mi"}
    ]
    (mount,) = container(chart.template())["volumeMounts"]
    assert mount["mountPath"] == "/tmp"  # noqa: S108 - the pod's own


def test_there_are_never_two_operators_at_a_time(chart: Chart) -> None:
    spec = only(chart.template(), "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_only_the_operators_own_pod_gets_the_accounts_token(chart: Chart) -> None:
    manifests = chart.template()
    assert only(manifests, "ServiceAccount")["automountServiceAccountToken"] is False
    pod = only(manifests, "Deployment")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is True


def test_the_whole_cluster_is_served_through_one_cluster_role(chart: Chart) -> None:
    manifests = chart.template()
    assert len(of_kind(manifests, *CLUSTER_WIDE)) == len(CLUSTER_WIDE)
    assert not of_kind(manifests, *BOUND)
    assert environment(manifests)["OPSAGENT_WATCH_NAMESPACES"] == ""


def test_named_namespaces_are_served_without_any_cluster_wide_right(chart: Chart) -> None:
    manifests = chart.template({"watchNamespaces": ["blue", "green"]})
    assert not of_kind(manifests, *CLUSTER_WIDE)
    placed = [(m["kind"], m["metadata"]["namespace"]) for m in of_kind(manifests, *BOUND)]
    assert sorted(placed) == [(kind, place) for kind in BOUND for place in ("blue", "green")]
    assert environment(manifests)["OPSAGENT_WATCH_NAMESPACES"] == "blue,green"


def test_rights_are_bound_to_the_account_the_operator_runs_as(chart: Chart) -> None:
    values = {"serviceAccount": {"create": False, "name": "given"}, "watchNamespaces": ["blue"]}
    manifests = chart.template(values)
    assert not of_kind(manifests, "ServiceAccount")
    assert only(manifests, "RoleBinding")["subjects"] == [
        {"kind": "ServiceAccount", "name": "given", "namespace": NAMESPACE}
    ]
    pod = only(manifests, "Deployment")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "given"


def test_rights_can_be_left_to_somebody_else(chart: Chart) -> None:
    assert not of_kind(chart.template({"rbac": {"create": False}}), *BOUND, *CLUSTER_WIDE)


def test_no_rule_has_a_wildcard_and_secrets_are_read_by_name_only(chart: Chart) -> None:
    rules = only(chart.template(), "ClusterRole")["rules"]
    assert rules == only(chart.template({"watchNamespaces": ["blue"]}), "Role")["rules"]
    words = [word for rule in rules for words in rule.values() for word in words]
    assert "*" not in words
    assert [rule["verbs"] for rule in rules if "secrets" in rule["resources"]] == [["get"]]


def test_the_documentation_lists_every_right_that_is_granted(chart: Chart) -> None:
    table = re.findall(
        r"^\| (core|`[\w.]+`) \| (`.*?`) \| (`.*?`) \| .+ \|$",
        (ROOT / "docs/install.md").read_text(),
        re.MULTILINE,
    )
    documented = [
        {
            "apiGroups": ["" if group == "core" else group.strip("`")],
            "resources": re.findall(r"`(.+?)`", resources),
            "verbs": re.findall(r"`(.+?)`", verbs),
        }
        for group, resources, verbs in table
    ]
    assert documented == only(chart.template(), "ClusterRole")["rules"]


def test_a_digest_wins_over_a_tag(chart: Chart) -> None:
    digest = f"sha256:{'0f' * 32}"
    image = {"repository": "registry:5000/operator", "tag": "v9"}
    assert container(chart.template({"image": image}))["image"] == "registry:5000/operator:v9"
    by_digest = chart.template({"image": {**image, "digest": digest}})
    assert container(by_digest)["image"] == f"registry:5000/operator@{digest}"


def test_the_pod_takes_what_the_values_say_about_it(chart: Chart) -> None:
    placement = {
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": "system-cluster-critical",
        "imagePullSecrets": [{"name": "registry"}],
    }
    notes = {"podAnnotations": {"note": "1"}, "podLabels": {"team": "ops"}}
    manifests = chart.template({**placement, **notes, "logLevel": "DEBUG"})
    template = only(manifests, "Deployment")["spec"]["template"]
    assert {key: template["spec"][key] for key in placement} == placement
    assert template["metadata"]["annotations"]["note"] == "1"
    assert template["metadata"]["labels"]["team"] == "ops"
    assert environment(manifests)["OPSAGENT_LOG_LEVEL"] == "DEBUG"


def test_extra_pod_labels_never_break_the_selector(chart: Chart) -> None:
    stolen = {"podLabels": {"app.kubernetes.io/name": "other"}}
    spec = only(chart.template(stolen), "Deployment")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()


def test_the_metrics_service_selects_the_operators_pod_and_port(chart: Chart) -> None:
    manifests = chart.template()
    service = only(manifests, "Service")["spec"]
    labels = only(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    ports = {port["name"] for port in container(manifests)["ports"]}
    assert {port["targetPort"] for port in service["ports"]} <= ports


@pytest.mark.parametrize(
    ("enabled", "apis", "expected"),
    [(True, [MONITORING], 1), (True, [], 0), (False, [MONITORING], 0)],
    ids=["enabled and known", "enabled, API absent", "not enabled"],
)
def test_a_service_monitor_is_made_only_where_its_api_exists_and_it_is_wanted(
    chart: Chart, enabled: bool, apis: list[str], expected: int
) -> None:
    values = {"metrics": {"serviceMonitor": {"enabled": enabled}}}
    manifests = chart.template(values, api_versions=apis)
    assert len(of_kind(manifests, "ServiceMonitor")) == expected


def test_a_long_release_name_is_cut_to_a_valid_object_name(chart: Chart) -> None:
    long = "r" * 53  # helm's own limit
    manifests = yaml.safe_load_all(chart.run("template", long, chart.path))
    names = [manifest["metadata"]["name"] for manifest in manifests if manifest]
    assert max(len(name) for name in names) <= 63


def test_the_notes_tell_a_next_command_whose_object_is_valid(chart: Chart) -> None:
    notes = chart.notes({"watchNamespaces": ["blue"]})
    assert "kubectl -n blue get oaw --watch" in notes
    assert f"helm uninstall ops --namespace {NAMESPACE}" in notes
    suggested = example(chart)
    assert suggested["kind"] == "OpsAgentWorker"
    OpsAgentWorkerSpec.model_validate(suggested["spec"])


def test_the_notes_say_so_when_a_wanted_service_monitor_was_not_made(chart: Chart) -> None:
    notes = chart.notes({"metrics": {"serviceMonitor": {"enabled": True}}})
    assert "No ServiceMonitor was made" in notes


def test_a_cluster_too_old_for_the_definitions_rules_is_refused(chart: Chart) -> None:
    with pytest.raises(HelmError, match=r"1\.28\.0"):
        chart.run("template", "ops", chart.path, "--kube-version=1.28.0")
