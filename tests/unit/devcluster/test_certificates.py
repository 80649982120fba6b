"""The certificates of a cluster."""

import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devcluster.pki import Pki


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    made = Pki(tmp_path / "pki")
    made.create(server_names=["kubernetes.default.svc", "10.200.1.2"], node="local")
    return made


def read(pki: Pki, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pki.certificate(name).read_bytes())


def test_the_api_servers_certificate_names_all_its_addresses(pki: Pki) -> None:
    names = read(pki, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["kubernetes.default.svc"]
    assert [str(ip) for ip in names.value.get_values_for_type(x509.IPAddress)] == ["10.200.1.2"]


def test_the_kubelet_is_a_node_to_the_node_authorizer(pki: Pki) -> None:
    subject = read(pki, "kubelet").subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "system:node:local"
    assert subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:nodes"


def test_the_authority_signed_every_certificate(pki: Pki) -> None:
    authority = read(pki, "ca")
    assert isinstance(authority.public_key(), ec.EllipticCurvePublicKey)
    for certificate in pki.folder.glob("*.crt"):
        x509.load_pem_x509_certificate(certificate.read_bytes()).verify_directly_issued_by(
            authority
        )


def test_nobody_else_can_read_keys_or_kubeconfigs(pki: Pki, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    pki.write_kubeconfig(config, user="admin", server="https://10.200.1.2:6443", context="here")
    for secret in (config, *pki.folder.glob("*.key")):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600, secret


def test_a_kubeconfig_needs_no_other_file(pki: Pki, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    pki.write_kubeconfig(config, user="admin", server="https://10.200.1.2:6443", context="here")
    assert str(pki.folder) not in config.read_text()
    assert json.loads(config.read_text())["current-context"] == "here"
