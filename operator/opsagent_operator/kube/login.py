"""Where the API server is and how to log in: the same answer for kopf's watches and for our requests."""

import os
import ssl
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

import aiohttp
import kopf
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

__all__ = ["USER_AGENT", "WATCH_USER_AGENT", "load_configuration", "watch_session"]

USER_AGENT: Final = f"opsagent-operator/{version('opsagent-operator')}"
"""Who we are in the API server's audit log."""
WATCH_USER_AGENT: Final = f"{USER_AGENT} kopf"
"""Who watches: it must never be found writing."""


async def load_configuration() -> Configuration:
    """The service account when running in a pod, the current context of the kubeconfig otherwise.

    `KUBECONFIG` wins over both. Tokens that expire are renewed by the configuration itself.

    Raises:
        kubernetes.config.ConfigException: neither is there, or what is there cannot be read.
    """
    # Otherwise each request would look for a proxy and a password in environment and home directory, and be
    # refused where it finds one: who we are and where to go is said here.
    configuration = Configuration(client_session_kwargs={"trust_env": False})
    in_pod = "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ
    if in_pod:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call] # not annotated there
    else:
        await config.load_kube_config(  # type: ignore[no-untyped-call] # not annotated there
            config_file=os.environ.get("KUBECONFIG"),
            client_configuration=configuration,
            persist_config=False,
        )
    return configuration


def watch_session(
    configuration: Configuration,
    *,
    traces: Sequence[aiohttp.TraceConfig],
    response_class: type[aiohttp.ClientResponse],
) -> kopf.AiohttpSession:
    """A session for kopf: like its own, and `traces` see every request."""

    async def authorize(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # Asked for each request, so that a rotated token is used from the next request on.
        bearer = (await configuration.auth_settings()).get("BearerToken")
        if bearer is not None and bearer["value"] is not None:
            request.headers["Authorization"] = bearer["value"]
        return await handler(request)

    tls: ssl.SSLContext = RESTClientObject(configuration).ssl_context
    return kopf.AiohttpSession(
        server=configuration.host,
        aiohttp_session=aiohttp.ClientSession(
            # No limit: each watch keeps a connection for itself.
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            headers={"User-Agent": WATCH_USER_AGENT},
            middlewares=(authorize,),
            proxy=configuration.proxy,
            response_class=response_class,
            trace_configs=list(traces),
        ),
    )
