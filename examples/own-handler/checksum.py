"""Tasks of type `checksum`: the SHA-256 of what is found at a URL."""

import hashlib

import httpx
from pydantic import BaseModel

from opsagent_worker import TaskContext, task


class Checksum(BaseModel):
    url: str


@task("checksum", timeout="2m", concurrency=4)
async def checksum(payload: Checksum, context: TaskContext) -> dict[str, object]:
    digest, size = hashlib.sha256(), 0
    async with httpx.AsyncClient() as client, client.stream("GET", payload.url) as response:
        if response.status_code == httpx.codes.NOT_FOUND:
            context.fail_permanently(f"there is nothing at {payload.url}")
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            context.retry(after="1m", reason=f"{payload.url} wants fewer requests")
        response.raise_for_status()
        async for chunk in response.aiter_bytes():
            digest.update(chunk)
            size += len(chunk)
            context.progress(message=f"{size} bytes read")
    return {"sha256": digest.hexdigest(), "bytes": size}
