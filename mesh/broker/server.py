"""A nats-server of our own: started, watched, restarted when it dies, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Final, Self

import msgspec
from msgspec import Struct

from mesh.access.session_keys import SessionKeys
from mesh.broker.credentials import Credentials
from mesh.broker.files import (
    broker_variables,
    conf_for,
    find_binary,
    half_of_disk,
    secret_variables,
    store_limits,
    write_env_file,
)
from mesh.broker.port_owner import describe_owner, port_is_taken
from mesh.broker.store_cipher import settle_cipher
from mesh.broker.store_watch import StoreWatch
from mesh.config.address import Address, parse_address
from mesh.errors import BrokerFailed, PortInUse, StoreInUse
from mesh.processes.backoff import Backoff
from mesh.processes.die_with_parent import guarded
from mesh.processes.folder_lock import FolderLock, Taken

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from mesh.broker.files import BrokerOptions
    from mesh.tls.contexts import TlsFiles

log = logging.getLogger(__name__)

START_TIMEOUT: Final = timedelta(minutes=2)
"""A large store is read before the server listens."""
STOP_TIMEOUT: Final = timedelta(seconds=10)
_POLL_S: Final = 0.005
_GIVEN_UP: Final = b"Unable to resolve the ports"
"""nats-server has five seconds to write where it listens; one that stood still for so long serves, and never does."""
_LARGEST_LOG: Final = 10 * 1024 * 1024
_SHOWN_LOG_BYTES: Final = 4096


class _Ports(Struct):
    nats: tuple[str, ...] = ()
    monitoring: tuple[str, ...] = ()


class EmbeddedServer:
    """An async context: inside it, a nats-server listens; clients find it again at the same port after a restart."""

    def __init__(self, options: BrokerOptions) -> None:
        """Prepare; nothing starts before the context is entered."""
        self._options = options
        self._lock: FolderLock | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watchers: tuple[asyncio.Task[None], ...] = ()
        self._environment: dict[str, str] = {}
        self._log_begins = 0
        self.credentials: Credentials
        self.store: StoreWatch
        self.address = options.listen
        self.monitor = options.monitor
        self.restarts = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self.address.nats_url if self._options.tls is None else self.address.tls_url

    @property
    def pid(self) -> int | None:
        """The process id of the server that runs now; None between two."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def certificates(self) -> tuple[TlsFiles, ...]:
        """The files that nats-server reads for TLS, of each kind of connection that has it."""
        options = self._options
        found = (
            options.tls,
            None if options.hub is None else options.hub.tls,
            None if options.uplink is None else options.uplink.tls,
            None if options.cluster is None else options.cluster.tls_files,
        )
        return tuple(files for files in found if files is not None)

    async def __aenter__(self) -> Self:
        """Start the server and return once it takes clients and its streams are there.

        Raises:
            PortInUse: if somebody else listens there.
            StoreInUse: if another broker works on the same data folder.
            CredentialsError: if the credentials cannot be used.
            StoreMismatch: if its streams were encrypted otherwise.
            BrokerFailed: if the server does not come up; the end of its log is in the message.
        """
        folder = self._options.folder
        self._lock = await _lock_store(folder)
        try:
            # Chosen once: what is free changes, what the server and its watch go by must not.
            limit = self._options.store_limit_bytes or half_of_disk(folder)
            self._options = msgspec.structs.replace(self._options, store_limit_bytes=limit)
            self.credentials = Credentials.load_or_create(self._options.data_dir)
            # With the credentials, so that whoever copies those to a gateway elsewhere has the same keys there.
            SessionKeys.load_or_create(self._options.data_dir)
            settle_cipher(self._options.store, self._options.data_dir, self._options.encrypt_store)
            if port_is_taken(self.address):
                raise PortInUse(_port_message(self.address))
            await self._start()
        except BaseException:
            await self._stop()
            raise
        self._lock.describe(f"the broker with pid {os.getpid()} at {self.address}")
        self.store = StoreWatch(folder, self.monitor, store_limits(self._options))
        self._watchers = (
            asyncio.create_task(self._watch(), name="broker-watch"),
            asyncio.create_task(self.store.run(self._end_for_a_fresh_start), name="broker-store-watch"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server cleanly; kill it if it does not stop."""
        for watcher in self._watchers:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        await self._stop()

    async def _start(self) -> None:
        options = msgspec.structs.replace(self._options, listen=self.address, monitor=self.monitor)
        variables = broker_variables(options, self.credentials)
        write_env_file(options, variables)
        secrets = secret_variables(options)
        self._process = await self._spawn(variables | secrets)
        while (ports := await self._wait_for_ports()) is None:
            await self._end_for_a_fresh_start("it was held up, and has not written where it listens")
            self._process = await self._spawn(variables | secrets)
        self.address = self.address._replace(port=_port_of(ports.nats))
        self.monitor = self.monitor._replace(port=_port_of(ports.monitoring))

    async def _spawn(self, variables: dict[str, str]) -> asyncio.subprocess.Process:
        if self._lock is None:
            raise BrokerFailed("the broker is not started: use it as `async with EmbeddedServer(...)`")
        self._run_folder.mkdir(exist_ok=True)
        for stale in self._run_folder.glob("*.ports"):
            stale.unlink()
        command = [str(find_binary()), "-c", str(conf_for(self._options)), "--ports_file_dir", str(self._run_folder)]
        with _open_log(self._log_path) as log_file:
            self._log_begins = log_file.tell()
            return await asyncio.create_subprocess_exec(
                *guarded(command, group="own"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                env=variables,
                # The server holds the lock too: if it outlives us by a moment, the next one waits for it.
                pass_fds=(self._lock.descriptor,),
            )

    async def _wait_for_ports(self) -> _Ports | None:
        """Wait for the file that the server writes when it listens, after its streams were read; None: it will not."""
        process = self._process
        if process is None:
            raise BrokerFailed("nats-server was not started")
        path = self._run_folder / f"nats-server_{process.pid}.ports"
        try:
            async with asyncio.timeout(START_TIMEOUT.total_seconds()):
                while process.returncode is None:
                    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                        return msgspec.json.decode(path.read_bytes(), type=_Ports)
                    if _GIVEN_UP in _log_from(self._log_path, self._log_begins):
                        return None
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise BrokerFailed(f"nats-server is not ready after {START_TIMEOUT}; its log: {self._log_path}") from None
        raise BrokerFailed(f"nats-server ended at its start (exit {process.returncode}): {_last_words(self._log_path)}")

    async def _watch(self) -> None:
        """Start the server again whenever it ends, at the same ports, waiting longer each time it does not last."""
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while self._process is not None:
            began = loop.time()
            code = await self._process.wait()
            delay_s = backoff.after(loop.time() - began).total_seconds()
            log.warning("nats-server ended (exit %s); starting it again in %.1f s", code, delay_s)
            await asyncio.sleep(delay_s)
            await self._restart()

    async def _restart(self) -> None:
        try:
            await self._start()
        except (BrokerFailed, OSError):
            log.exception("nats-server could not be started again")
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
            return
        self.restarts += 1
        log.info("nats-server runs again at %s (pid %s, restart %d)", self.address, self.pid, self.restarts)

    async def _end_for_a_fresh_start(self, reason: str) -> None:
        """End the server; who watches it starts it again."""
        if self._process is not None:
            log.warning("nats-server is started again: %s", reason)
            await _end(self._process)

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await _end(process)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def _run_folder(self) -> Path:
        return self._options.folder / "run"

    @property
    def _log_path(self) -> Path:
        return self._options.folder / "logs" / "nats-server.log"


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask a server to stop, if it runs; kill it if it does not."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT.total_seconds())
    except TimeoutError:
        log.warning("nats-server did not stop within %s: killing it", STOP_TIMEOUT)
        process.kill()
        await process.wait()


async def _lock_store(folder: Path) -> FolderLock:
    try:
        return await FolderLock.acquire(folder / "jetstream.lock")
    except Taken as holder:
        who = str(holder) or "another broker"
        raise StoreInUse(
            f"the data folder {folder} is in use by {who}: stop it, or choose another folder with --data-dir"
        ) from None
    except OSError as error:
        raise BrokerFailed(f"cannot use the data folder {folder}: {error.strerror}") from error


def _port_message(address: Address) -> str:
    owner = describe_owner(address.port)
    return f"{address} is in use by {owner}: stop it, or choose another port with --nats HOST:PORT (0 picks a free one)"


def _port_of(urls: tuple[str, ...]) -> int:
    return parse_address(urls[0].partition("://")[2]).port if urls else 0


def _open_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LARGEST_LOG:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def _log_from(path: Path, begins: int) -> bytes:
    """What was written since; of a long log the end."""
    with path.open("rb") as written:
        written.seek(max(begins, path.stat().st_size - _SHOWN_LOG_BYTES))
        return written.read()


def _last_words(path: Path) -> str:
    """The last line of the log that says why, without its timestamp."""
    lines = path.read_bytes()[-_SHOWN_LOG_BYTES:].decode(errors="replace").splitlines()
    reasons = [line for line in lines if "[FTL]" in line or line.startswith("nats-server:")]
    return (reasons or lines or ["its log is empty"])[-1].rpartition("[FTL] ")[2]
