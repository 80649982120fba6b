"""An image of one program, without a tool that builds images."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from devcluster.ociarchive import write_image


def test_every_blob_is_where_its_digest_says(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF not really")
    write_image(tmp_path / "image.tar", program=program, name="localhost/pause:1")

    with tarfile.open(tmp_path / "image.tar") as tar:
        files = {entry.name: tar.extractfile(entry) for entry in tar}
        content = {name: file.read() for name, file in files.items() if file}
    for name, blob in content.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(blob).hexdigest() == name.rpartition("/")[2]

    index = json.loads(content["index.json"])
    (entry,) = index["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/pause:1"
    manifest = json.loads(content[f"blobs/{entry['digest'].replace(':', '/')}"])
    layer = content[f"blobs/{manifest['layers'][0]['digest'].replace(':', '/')}"]
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as unpacked:
        (only,) = unpacked.getmembers()
        assert (only.name, only.mode) == ("pause", 0o755)
