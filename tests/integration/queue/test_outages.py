"""Redis away, restarted, forgetful or refusing; replies lost on the way; TLS."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fixtures.queue_bench import LONG_MS, Bench
from fixtures.redis import RedisServer
from opsagent_queue import (
    Finished,
    Lease,
    QueueRefusedError,
    QueueUnavailableError,
    Retried,
    TaskQueue,
    connect,
)

pytestmark = pytest.mark.integration

PASSWORD = "s3cr3t-word"


class Cable:
    """A TCP connection to Redis that can lose one reply: Redis did the work, nobody hears of it."""

    def __init__(self, port: int) -> None:
        self._redis_port = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._lose_next = False
        self.lost = 0

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def lose_next_reply(self) -> None:
        self._lose_next = True

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._redis_port)
        self._open |= {writer, there_writer}
        await asyncio.gather(
            self._pump(reader, there_writer, replies=False),
            self._pump(there_reader, writer, replies=True),
        )

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                if replies and self._lose_next:
                    self._lose_next = False
                    self.lost += 1
                    break
                writer.write(chunk)
                await writer.drain()
        writer.close()


@pytest.fixture
async def cable(redis_url: str) -> AsyncIterator[Cable]:
    cable = Cable(int(redis_url.rpartition(":")[2].removesuffix("/0")))
    yield cable
    await cable.stop()


@pytest.fixture
async def shaky(cable: Cable, bench: Bench) -> AsyncIterator[TaskQueue]:
    """The bench's queue, reached through the cable."""
    client = connect(await cable.start())
    await client.ping()
    yield TaskQueue(client, worker=bench.queue.keys.worker)
    await client.aclose()


async def test_a_lost_reply_of_a_claim_costs_no_lease(
    bench: Bench, cable: Cable, shaky: TaskQueue
) -> None:
    await bench.claim_one()
    await bench.enqueue(*(bench.task() for _ in range(4)))
    cable.lose_next_reply()
    result = await shaky.claim(owner="p", version="v1", count=2, lease_ms=LONG_MS, token="lost")
    assert cable.lost == 1
    assert len(result.claims) == 2
    assert len(await bench.waiting()) == 2
    assert (await bench.queue.snapshot()).busy == {"pod-1": 1, "p": 2}


async def finish(queue: TaskQueue, lease: Lease) -> object:
    finished = Finished(lease=lease, status="completed", seconds=1)
    return await queue.finish([finished], result_ttl_ms=LONG_MS, version="v1") == (True,)


async def retry(queue: TaskQueue, lease: Lease) -> object:
    retried = Retried(lease=lease, delay_ms=0, error="x")
    return await queue.retry([retried], version="v1") == (True,)


async def release(queue: TaskQueue, lease: Lease) -> object:
    return await queue.release([lease]) == 1


async def renew(queue: TaskQueue, lease: Lease) -> object:
    return not (await queue.renew([lease], lease_ms=LONG_MS)).lost


@pytest.mark.parametrize("move", [finish, retry, release, renew])
async def test_a_lost_reply_of_any_move_is_repeated_without_harm(
    bench: Bench,
    cable: Cable,
    shaky: TaskQueue,
    move: Callable[[TaskQueue, Lease], Awaitable[object]],
) -> None:
    warm_up = await bench.claim_one()
    await move(bench.queue, warm_up.lease)
    claim = await bench.claim_one(priority="P0")
    cable.lose_next_reply()
    assert await move(shaky, claim.lease) is True
    assert cable.lost == 1
    assert await bench.queue.counters() == {}


async def test_a_lost_reply_of_a_replay_or_a_drop_is_repeated_without_harm(
    bench: Bench, cable: Cable, shaky: TaskQueue
) -> None:
    ids = []
    for _ in range(3):
        claim = await bench.claim_one()
        await bench.finish(claim.lease, status="failed", error="x", error_class="X")
        ids.append(claim.task.task_id)
    warm_up, again, away = ids
    await bench.queue.replay([warm_up])
    cable.lose_next_reply()
    assert (await shaky.replay([again])).replayed == {again}
    await bench.queue.drop([warm_up])
    cable.lose_next_reply()
    assert await shaky.drop([away]) == 1
    assert cable.lost == 2
    assert set(await bench.waiting()) == {warm_up, again}
    assert await bench.queue.dead_letters(limit=10) == ()


async def test_a_server_that_forgot_the_scripts_gets_them_again(bench: Bench) -> None:
    await bench.claim_one()
    await bench.client.script_flush()
    claim = await bench.claim_one()
    assert await bench.finish(claim.lease)


async def test_after_a_crash_of_redis_every_task_is_where_it_was(
    redis_server: RedisServer, bench: Bench
) -> None:
    await bench.enqueue(*(bench.task() for _ in range(3)))
    (claim,) = (await bench.claim()).claims
    run_id = (await bench.queue.snapshot()).run_id
    redis_server.kill()
    redis_server.start()
    snapshot = await bench.queue.snapshot()
    assert (snapshot.pending, snapshot.in_flight) == (2, 1)
    assert snapshot.run_id not in {None, run_id}
    assert await bench.finish(claim.lease)


async def test_redis_away_is_unavailable_and_tells_no_password(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = connect(redis_server.url.replace("redis://", f"redis://:{PASSWORD}@"))
    queue = TaskQueue(client, worker="a/b")
    redis_server.kill()
    with pytest.raises(QueueUnavailableError, match="not available") as caught:
        await queue.snapshot()
    with pytest.raises(QueueUnavailableError):
        await queue.counters()
    assert PASSWORD not in str(caught.value) + repr(caught.value.__cause__) + caplog.text
    await client.aclose()


async def test_wrong_credentials_and_missing_permissions_are_refused(
    bench: Bench, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await bench.client.execute_command(  # type: ignore[no-untyped-call] # redis-py leaves it untyped
        "ACL", "SETUSER", "limited", "on", ">right-word", "~*", "-@all", "+ping"
    )
    wrong = connect(redis_url.replace("redis://", f"redis://limited:{PASSWORD}@"))
    with pytest.raises(QueueRefusedError, match="credentials") as caught:
        await TaskQueue(wrong, worker="a/b").snapshot()
    assert PASSWORD not in str(caught.value) + caplog.text
    limited = connect(redis_url.replace("redis://", "redis://limited:right-word@"))
    with pytest.raises(QueueRefusedError, match=r"permission"):
        await TaskQueue(limited, worker="a/b").snapshot()
    await wrong.aclose()
    await limited.aclose()


async def test_a_key_of_the_wrong_type_is_refused_with_redis_own_reason(bench: Bench) -> None:
    await bench.client.set(bench.queue.keys.tasks, "not a queue")
    with pytest.raises(QueueRefusedError, match="WRONGTYPE"):
        await bench.queue.snapshot()


async def test_a_read_only_replica_is_unavailable_for_claims(
    redis_server: RedisServer, bench: Bench
) -> None:
    await bench.enqueue(bench.task())
    await bench.client.replicaof("127.0.0.1", 1)
    with pytest.raises(QueueUnavailableError):
        await bench.claim()
    await bench.client.replicaof("NO", "ONE")
    assert len((await bench.claim()).claims) == 1
    assert redis_server.running


class Authority:
    """A certificate authority that signs a server for the given names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.file = self._write("ca.crt", self._sign(self._name, self._key, names=[]))

    def server(self, names: list[x509.GeneralName]) -> tuple[Path, Path]:
        """Paths of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        certificate = self._sign(subject, key, names=names)
        return self._write("tls.crt", certificate), self._write("tls.key", private)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName]
    ) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(content)
        return path


def tls_server(folder: Path, authority: Authority, names: list[x509.GeneralName]) -> RedisServer:
    certificate, key = authority.server(names)
    return RedisServer(
        folder,
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        *("--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", "no"),
        tls=True,
    )


async def ping(url: str, *, ca_file: Path | None = None, insecure: bool = False) -> None:
    client = connect(url, ca_file=str(ca_file) if ca_file else None, allow_insecure_tls=insecure)
    try:
        await TaskQueue(client, worker="a/b").counters()
    finally:
        await client.aclose()


@pytest.mark.tls
async def test_tls_is_verified_against_the_given_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = tls_server(tmp_path, authority, [x509.IPAddress(ip_address("127.0.0.1"))])
    server.start()
    try:
        await ping(server.tls_url, ca_file=authority.file)
        with pytest.raises(QueueUnavailableError, match="certificate"):
            await ping(server.tls_url)
        await ping(server.tls_url, insecure=True)
        await ping(server.tls_url + "?ssl_cert_reqs=none", insecure=True)
    finally:
        server.stop()


@pytest.mark.tls
async def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = tls_server(tmp_path, authority, [x509.DNSName("other.example")])
    server.start()
    try:
        with pytest.raises(QueueUnavailableError, match=r"certificate|mismatch"):
            await ping(server.tls_url, ca_file=authority.file)
    finally:
        server.stop()
