"""What the API server writes down: every write, so that tests can tell which ones happened."""

import json
from pathlib import Path
from typing import Any

_WRITES = ["create", "update", "patch", "delete", "deletecollection"]
# Leases are renewed every few seconds by whoever leads or lives; they would drown the rest.
_NOISE = [{"group": "coordination.k8s.io", "resources": ["leases"]}]

POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "resources": _NOISE},
        {"level": "Metadata", "verbs": _WRITES},
        {"level": "None"},
    ],
}


def write_policy(path: Path) -> None:
    """Write the audit policy (audit.k8s.io/v1) as JSON, which is YAML."""
    path.write_text(json.dumps(POLICY, indent=2))
