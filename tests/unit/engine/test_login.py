"""How requests find their way to the API server."""

import json
import os
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from opsagent_operator.kube.client import PODS, Kube

NOWHERE = "http://127.0.0.1:9"


async def test_neither_a_proxy_nor_a_password_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[str]()

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Authorization", ""))
        return web.json_response({"kind": "Pod"})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        config = {
            "clusters": [
                {"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.port}"}}
            ],
            "users": [{"name": "me", "user": {"token": "a-token"}}],
            "contexts": [{"name": "it", "context": {"cluster": "here", "user": "me"}}],
            "current-context": "it",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
        monkeypatch.setenv("KUBECONFIG", os.fspath(tmp_path / "kubeconfig"))
        monkeypatch.setenv("NETRC", os.fspath(tmp_path / "netrc"))
        monkeypatch.setenv("HTTP_PROXY", NOWHERE)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        kube = Kube(timeout=10, on_response=lambda _method, _status: None)
        try:
            assert await kube.get(PODS, namespace="shop", name="a") == {"kind": "Pod"}
        finally:
            await kube.close()
    assert asked == ["Bearer a-token"]
