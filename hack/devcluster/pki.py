"""The certificates of one cluster: an authority, and what it signs."""

import base64
import datetime as dt
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = dt.timedelta(days=365)
_CLOCK_SKEW = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Pki:
    """A folder of PEM files; `NAME.crt` and `NAME.key` for each name."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "ca.crt"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def create(self, *, server_names: Sequence[str], node: str | None = None) -> None:
        """Write what one cluster needs.

        Args:
            server_names: DNS names and addresses of the API server.
            node: the kubelet's node name, in a cluster that has one.
        """
        self.folder.mkdir(parents=True, mode=0o700)
        authority_key = self._new_key("ca")
        authority = self._self_signed(authority_key)
        self._new_key("service-accounts")

        def sign(name: str, common_name: str, *groups: str, names: Sequence[str] = ()) -> None:
            key = self._new_key(name)
            builder = _builder(_subject(common_name, *groups), key, issuer=authority.subject)
            usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            if names:
                alternatives = x509.SubjectAlternativeName([_alternative(one) for one in names])
                builder = builder.add_extension(alternatives, critical=False)
            self._write(name, builder.sign(authority_key, hashes.SHA256()))

        sign("apiserver", "kube-apiserver", names=server_names)
        sign("admin", "admin", "system:masters")
        sign("controller-manager", "system:kube-controller-manager")
        sign("scheduler", "system:kube-scheduler")
        sign("front-proxy", "front-proxy")
        if node:
            sign("kubelet", f"system:node:{node}", "system:nodes", names=[node])
            sign("kube-proxy", "system:kube-proxy")

    def write_kubeconfig(self, path: Path, *, user: str, server: str, context: str) -> None:
        """Write a kubeconfig that holds all it needs, so that the file may be copied."""
        cluster = {"server": server, "certificate-authority-data": _base64(self.authority)}
        credentials = {
            "client-certificate-data": _base64(self.certificate(user)),
            "client-key-data": _base64(self.key(user)),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": context, "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
            "current-context": context,
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=2))

    def _new_key(self, name: str) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        path = self.key(name)
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,  # kube-apiserver reads no PKCS8
                serialization.NoEncryption(),
            )
        )
        return key

    def _self_signed(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        subject = _subject("opsagent local cluster")
        basic = x509.BasicConstraints(ca=True, path_length=None)
        builder = _builder(subject, key, issuer=subject).add_extension(basic, critical=True)
        return self._write("ca", builder.sign(key, hashes.SHA256()))

    def _write(self, name: str, certificate: x509.Certificate) -> x509.Certificate:
        self.certificate(name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return certificate


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, issuer: x509.Name
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + VALID)
    )


def _subject(common_name: str, *groups: str) -> x509.Name:
    """Kubernetes reads the user from the common name and the groups from the organizations."""
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
