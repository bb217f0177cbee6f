"""Settings: a typed value per section, and for each field where it came from.

Precedence: flag > variable ``IG3_*`` > TOML file > default. An empty variable counts as not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic, Literal, TypeVar
from urllib.parse import urlsplit

from msgspec import NODEFAULT, Meta, Struct

from mesh.broker.cluster import ClusterMember
from mesh.broker.files import BrokerOptions, Durability
from mesh.broker.store_cipher import StoreCipher
from mesh.config.address import TLS_SCHEME, Address, addresses, listen_address, nats_urls, parse_address
from mesh.config.fields import SettingField, fields_of, read_value
from mesh.errors import SettingsError
from mesh.tls.contexts import ClientTls, TlsFiles
from streams.tokens import token
from streams.topology import Retention, StreamSpec, stream_specs

if TYPE_CHECKING:
    from mesh.config.sources import Sources

T = TypeVar("T", bound=Struct)

DEFAULT = "default"

ENOUGH_COPIES = 3
"""Copies of each stream in a cluster, unless told otherwise: one server may be lost, and more copies cost more."""


class Resolved(Struct, Generic[T], frozen=True, kw_only=True):
    """A section's value, and per key where it came from: ``flag --http``, ``IG3_HTTP``, ``ig3.toml [gateway]``."""

    value: T
    origins: Mapping[str, str]


def resolve(section: type[T], name: str, *, flags: Mapping[str, object], sources: Sources) -> Resolved[T]:
    """Resolve one section; a flag that is None was not given.

    Raises:
        SettingsError: if a value cannot be used, or one that has no default is missing.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for field in fields_of(section, name):
        raw, origin = _find(field, flags, sources)
        values[field.key] = field.default if origin == DEFAULT else read_value(field, raw, origin)
        origins[field.key] = origin
    try:
        return Resolved(value=section(**values), origins=origins)
    except ValueError as error:
        given = [f"{key} from {origin}" for key, origin in origins.items() if origin != DEFAULT]
        raise SettingsError(f"settings [{name}] ({', '.join(given)}) cannot be used: {error}") from error


def _find(field: SettingField, flags: Mapping[str, object], sources: Sources) -> tuple[object, str]:
    table = sources.tables.get(field.section, {})
    if flags.get(field.key) is not None:
        return flags[field.key], f"flag {field.flag}"
    if sources.env.get(field.variable):
        return sources.env[field.variable], field.variable
    if field.key in table:
        return table[field.key], f"{sources.file} [{field.section}]"
    if field.default is NODEFAULT:
        raise SettingsError(f"{field.key} is missing: give it by {field.flag} or {field.variable}")
    return None, DEFAULT


class UpSettings(Struct, frozen=True, kw_only=True):
    """What ``ig3 up`` starts."""

    nodes: Annotated[int, Meta(ge=0, le=64, description="How many nodes to run on this machine.")] = 1
    cluster: Annotated[
        int, Meta(ge=1, le=5, description="How many NATS servers to run as one cluster on this machine: 1, 3 or 5.")
    ] = 1
    stop_timeout: Annotated[
        timedelta, Meta(description="How long a process may take to stop before it is killed; more than it may drain.")
    ] = timedelta(seconds=40)

    def __post_init__(self) -> None:
        """Check what a type cannot say."""
        if self.cluster % 2 == 0:
            raise ValueError(f"a cluster of {self.cluster} survives no more than one of {self.cluster - 1}: 1, 3 or 5")


class MeshSettings(Struct, frozen=True, kw_only=True):
    """What every process of a mesh shares: where the bus is, where state lies, how durable it is."""

    nats: Annotated[
        str,
        Meta(
            description="Where NATS is: HOST:PORT, nats:// or tls://, several separated by commas; port 0: any free.",
            examples=["HOST:PORT"],
        ),
    ] = "127.0.0.1:4222"
    data_dir: Annotated[Path, Meta(description="Folder for streams, credentials and logs.", examples=["FOLDER"])] = (
        Path(".ig3")
    )
    account: Annotated[str, Meta(description="The account whose tasks are sent and read.")] = "local"
    api_key_file: Annotated[
        Path | None,
        Meta(
            description="File with an API key of the account, for clients on other machines; none: the user of the data"
            " folder.",
            examples=["FILE"],
        ),
    ] = None
    nats_ca: Annotated[
        Path | None,
        Meta(
            description="Whose certificates brokers must show; none: those that the operating system trusts, over tls://.",
            examples=["FILE"],
        ),
    ] = None
    nats_name: Annotated[
        str | None,
        Meta(description="The name in the broker's certificate, where it is not the host in nats.", examples=["NAME"]),
    ] = None
    nats_client_cert: Annotated[
        Path | None, Meta(description="Certificate to show to a broker that asks for one.", examples=["FILE"])
    ] = None
    nats_client_key: Annotated[Path | None, Meta(description="Private key of that certificate.", examples=["FILE"])] = (
        None
    )
    nats_tls_cert: Annotated[
        Path | None,
        Meta(description="Certificate of a broker of our own; none: clients connect in plain text.", examples=["FILE"]),
    ] = None
    nats_tls_key: Annotated[Path | None, Meta(description="Private key of that certificate.", examples=["FILE"])] = None
    nats_tls_ca: Annotated[
        Path | None,
        Meta(description="Whose certificates its clients must show; none: they need none.", examples=["FILE"]),
    ] = None
    durability: Annotated[
        Durability,
        Meta(description="What an acknowledged event survives: a power cut, or only the death of a process (faster)."),
    ] = "power"
    results_streams: Annotated[
        int, Meta(ge=1, le=16, description="Over how many streams answers spread; each syncs to disk on its own.")
    ] = 4
    replicas: Annotated[
        Annotated[int, Meta(ge=1, le=5)] | None,
        Meta(description="Copies of each stream; none: 3 in a cluster of three servers, else 1.", examples=["N"]),
    ] = None
    retention: Annotated[timedelta, Meta(description="How long tasks and their answers are kept.")] = timedelta(days=1)
    ended_retention: Annotated[
        timedelta, Meta(description="How long the end of each task is kept: what charges are computed from.")
    ] = timedelta(days=7)
    store_limit: Annotated[
        Annotated[int, Meta(gt=0)] | None,
        Meta(
            description="Most that streams may take on the disk; none: half of what is free.", extra={"unit": "bytes"}
        ),
    ] = None
    cache_room: Annotated[
        int,
        Meta(
            ge=1 << 20,
            description="Most that answers of the response cache may take in the streams; the oldest make room.",
            extra={"unit": "bytes"},
        ),
    ] = 16 * 1024 * 1024
    encrypt_store: Annotated[
        StoreCipher,
        Meta(description="How a broker of our own encrypts its streams on the disk; set it before they are made."),
    ] = "off"
    monitor: Annotated[
        str,
        Meta(
            description="Where nats-server's own monitoring listens; it has no login: keep it on loopback.",
            examples=["HOST:PORT"],
        ),
    ] = "127.0.0.1:0"
    server_name: Annotated[
        str,
        Meta(
            description="The name of a broker of our own; another one for each server of a cluster.", examples=["NAME"]
        ),
    ] = "ig3"
    server_dir: Annotated[
        Path | None,
        Meta(
            description="Folder for the streams and logs of a broker of our own; none: the data folder.",
            examples=["FOLDER"],
        ),
    ] = None
    routes: Annotated[
        str,
        Meta(
            description="Where the servers of the cluster hear each other, all of them; none: no cluster.",
            examples=["HOST:PORT,..."],
        ),
    ] = ""
    route_listen: Annotated[
        str, Meta(description="Where a broker of our own hears the others of its cluster.", examples=["HOST:PORT"])
    ] = "127.0.0.1:6222"
    route_tls: Annotated[
        Path | None,
        Meta(
            description="Folder of the certificates by which servers of a cluster know each other; none: no TLS.",
            examples=["FOLDER"],
        ),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="What is written to the log.")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Meta(description="Log lines for people, or one JSON object per line.")
    ] = "text"
    metrics: Annotated[bool, Meta(description="Whether metrics are counted and shown at /metrics.")] = True
    otlp_endpoint: Annotated[
        str | None,
        Meta(description="Where traces and metrics are sent by OTLP over HTTP; none: nowhere.", examples=["URL"]),
    ] = None

    def __post_init__(self) -> None:
        """Check what a type cannot say."""
        nats_urls(self.nats)
        parse_address(self.monitor)
        parse_address(self.route_listen)
        addresses(self.routes)
        token(self.server_name)
        token(self.account)
        self._check_tls()
        if self.otlp_endpoint is not None and "@" in urlsplit(self.otlp_endpoint).netloc:
            raise ValueError(
                "otlp_endpoint is shown to everybody, so no user or password may be in it: "
                "give OTEL_EXPORTER_OTLP_HEADERS='authorization=...' in the environment"
            )

    def _check_tls(self) -> None:
        for key, value, other in (
            ("nats_tls_cert", self.nats_tls_cert, self.nats_tls_key),
            ("nats_client_cert", self.nats_client_cert, self.nats_client_key),
        ):
            if (value is None) != (other is None):
                raise ValueError(f"{key} and {key.removesuffix('cert')}key are needed together")
        if self.nats_tls_ca is not None and self.nats_tls_cert is None:
            raise ValueError("a broker that asks for certificates (nats_tls_ca) shows one itself: give nats_tls_cert")

    @property
    def nats_urls(self) -> tuple[str, ...]:
        """The servers to connect to; all ``tls://`` as soon as anything here asks for TLS."""
        urls = nats_urls(self.nats)
        asking = (self.nats_ca, self.nats_name, self.nats_client_cert, self.nats_tls_cert)
        if not any(asking) and not any(url.startswith(TLS_SCHEME) for url in urls):
            return urls
        return tuple(TLS_SCHEME + url.partition("://")[2] for url in urls)

    @property
    def nats_tls(self) -> ClientTls:
        """How servers that are reached over ``tls://`` prove who they are."""
        files = TlsFiles(cert=self.nats_client_cert, key=self.nats_client_key, ca=self.nats_ca)
        return ClientTls(files=files, name=self.nats_name)

    @property
    def listen(self) -> Address:
        """Where a broker of our own listens.

        Raises:
            SettingsError: if ``nats`` names several servers.
        """
        return listen_address(self.nats)

    @property
    def streams(self) -> tuple[StreamSpec, ...]:
        """The streams of this mesh, as they should be."""
        return stream_specs(
            results_streams=self.results_streams,
            retention=self.kept,
            replicas=self.copies,
            cache_bytes=self.cache_room,
        )

    @property
    def kept(self) -> Retention:
        """How long content and ends are kept."""
        return Retention(content=self.retention, ends=self.ended_retention)

    @property
    def copies(self) -> int:
        """How many copies there are of each stream."""
        return self.replicas or (ENOUGH_COPIES if self.servers >= ENOUGH_COPIES else 1)

    @property
    def servers(self) -> int:
        """How many servers the broker has, as far as these settings tell."""
        return max(len(self.nats_urls), len(addresses(self.routes)))

    @property
    def broker(self) -> BrokerOptions:
        """How a broker of our own runs.

        Raises:
            SettingsError: if ``nats`` names several servers, or TLS without a certificate.
        """
        if self.nats_tls_cert is None and TLS_SCHEME in self.nats:
            raise SettingsError(f"a broker at {self.nats} needs a certificate: give nats_tls_cert and nats_tls_key")
        return BrokerOptions(
            data_dir=self.data_dir,
            server_dir=self.server_dir,
            name=self.server_name,
            cluster=self.cluster,
            listen=self.listen,
            monitor=parse_address(self.monitor),
            durability=self.durability,
            encrypt_store=self.encrypt_store,
            store_limit_bytes=self.store_limit,
            tls=self._broker_tls,
        )

    @property
    def _broker_tls(self) -> TlsFiles | None:
        if self.nats_tls_cert is None:
            return None
        return TlsFiles(cert=self.nats_tls_cert, key=self.nats_tls_key, ca=self.nats_tls_ca)

    @property
    def cluster(self) -> ClusterMember | None:
        """The part of a broker of our own in its cluster; None: it is a server by itself."""
        routes = addresses(self.routes)
        if not routes:
            return None
        return ClusterMember(listen=parse_address(self.route_listen), routes=routes, tls=self.route_tls)
