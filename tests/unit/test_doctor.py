"""The doctor's rules, one by one: pure functions over facts."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from mesh.config.address import parse_address
from mesh.config.fields import fields_of
from mesh.config.settings import MeshSettings
from mesh.doctor import files, lines, running
from mesh.doctor.examine import RULES, examine
from mesh.doctor.facts import (
    BrokerFact,
    CertificateFact,
    DiskFact,
    Facts,
    FileFact,
    IdentityFact,
    KeyFact,
    Line,
    Listener,
    ProcessFact,
    SettingsFact,
    UrlFact,
)
from mesh.doctor.finding import Finding, Level
from mesh.doctor.gather_bus import ahead_s
from mesh.doctor.gather_files import certificate
from mesh.doctor.gather_machine import telling_processes, telling_variables
from mesh.tls.contexts import TlsFiles
from tests.certificates import Authority

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
GIB = 1024**3
SAFE = Facts(
    now=NOW,
    settings=SettingsFact(admission="listed", durability="power", encrypt_store="off"),
    listeners=(),
    files=(FileFact(path=Path("c"), mode=0o700, is_folder=True), FileFact(path=Path("c/x.nk"), mode=0o600)),
    keys=(),
    certificates=(),
    urls=(),
    broker=BrokerFact(),
    identity=IdentityFact(outcome="refused", took_s=0.01),
    disk=DiskFact(free_bytes=100 * GIB, total_bytes=200 * GIB),
    processes=(),
    server_version=(2, 15, 1),
)
CERTIFICATE = CertificateFact(
    setting="nats_tls_cert",
    path=Path("cert.pem"),
    not_before=NOW - timedelta(days=1),
    not_after=NOW + timedelta(days=365),
    names=("mesh.example.org", "*.edge.example.org", "10.0.0.5"),
    hosts=("mesh.example.org",),
    key_mode=0o600,
)

Rule = Callable[[Facts], Iterable[Finding]]


def levels(rule: Rule, facts: Facts) -> list[Level]:
    return [finding.level for finding in rule(facts)]


def text_of(rule: Rule, facts: Facts) -> str:
    return " ".join(f"{one.item} {one.text} {one.remedy}" for one in rule(facts))


def listening(line: Line, at: str, *, tls: bool = False, asks: bool = True) -> Facts:
    listener = Listener(line=line, address=parse_address(at), is_encrypted=tls, asks_who=asks)
    return replace(SAFE, listeners=(listener,))


def test_a_safe_installation_has_nothing_to_do() -> None:
    assert {finding.level for finding in examine(SAFE)} == {"ok"}
    assert not any(finding.remedy for finding in examine(SAFE))


def test_whatever_is_wrong_has_a_remedy() -> None:
    wrong = [finding for facts in WRONG for finding in examine(facts) if finding.level != "ok"]
    assert len(wrong) >= len(WRONG)
    assert all(finding.remedy for finding in wrong)


# --- lines ---


@pytest.mark.parametrize(
    ("host", "reach"),
    [
        ("127.0.0.1", "machine"),
        ("127.8.8.8", "machine"),
        ("::1", "machine"),
        ("LocalHost", "machine"),
        ("10.1.2.3", "network"),
        ("192.168.0.7", "network"),
        ("fd00::1", "network"),
        ("169.254.1.1", "network"),
        ("0.0.0.0", "world"),
        ("::", "world"),
        ("8.8.8.8", "world"),
        ("mesh.example.org", "world"),
        ("localhost.example.org", "world"),
    ],
)
def test_an_address_tells_how_far_it_is_reached(host: str, reach: str) -> None:
    assert lines.reach_of(host) == reach


@pytest.mark.parametrize("line", ["gateway", "nats", "routes", "leafnodes", "monitoring"])
def test_what_only_this_machine_reaches_may_be_plain(line: Line) -> None:
    assert levels(lines.judge_listeners, listening(line, "127.0.0.1:1", asks=False)) == ["ok"]


@pytest.mark.parametrize("line", ["gateway", "nats", "routes", "leafnodes"])
def test_a_line_into_the_world_needs_tls(line: Line) -> None:
    assert levels(lines.judge_listeners, listening(line, "0.0.0.0:1")) == ["insecure"]
    assert levels(lines.judge_listeners, listening(line, "10.0.0.5:1")) == ["warning"]
    assert levels(lines.judge_listeners, listening(line, "0.0.0.0:1", tls=True)) == ["ok"]
    assert "tls" in text_of(lines.judge_listeners, listening(line, "0.0.0.0:1")) or line == "leafnodes"


@pytest.mark.parametrize("at", ["0.0.0.0:1", "10.0.0.5:1"])
def test_a_gateway_that_asks_nobody_stays_on_this_machine(at: str) -> None:
    assert levels(lines.judge_listeners, listening("gateway", at, tls=True, asks=False)) == ["insecure", "ok"]
    assert "auth = required" in text_of(lines.judge_listeners, listening("gateway", at, asks=False))


@pytest.mark.parametrize("at", ["0.0.0.0:1", "10.0.0.5:1"])
def test_monitoring_never_leaves_this_machine(at: str) -> None:
    assert levels(lines.judge_listeners, listening("monitoring", at)) == ["insecure"]


def test_a_chain_that_one_node_alone_tells_of_is_told() -> None:
    first, second = (UrlFact(setting="peaq_endpoints", scheme="wss", host=host) for host in ("a.example", "b.example"))
    assert levels(lines.judge_chain, replace(SAFE, urls=(first,))) == ["warning"]
    assert levels(lines.judge_chain, replace(SAFE, urls=(first, first))) == ["warning"]
    assert levels(lines.judge_chain, replace(SAFE, urls=(first, second))) == ["ok"]
    assert levels(lines.judge_chain, SAFE) == []


def test_open_admission_is_told_where_strangers_can_come() -> None:
    opened = replace(SAFE.settings, admission="open")
    assert levels(lines.judge_admission, replace(SAFE, settings=opened)) == ["ok"]
    assert levels(lines.judge_admission, replace(listening("nats", "0.0.0.0:1"), settings=opened)) == ["warning"]
    assert levels(lines.judge_admission, listening("nats", "0.0.0.0:1")) == ["ok"]


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({}, "ok", "good until 2027-11-28"),
        ({"not_after": NOW + timedelta(days=29)}, "warning", "ends in 29 days"),
        ({"not_after": NOW - timedelta(days=1)}, "insecure", "ended at 2026-11-27"),
        ({"not_before": NOW + timedelta(hours=1)}, "warning", "only begins"),
        ({"hosts": ("elsewhere.org",)}, "warning", "clients come by elsewhere.org"),
        ({"problem": "the key is not that of the certificate"}, "insecure", "the key is not"),
        ({"key_mode": 0o640}, "warning", "open to the group"),
        ({"key_mode": 0o644}, "insecure", "open to everybody"),
    ],
)
def test_a_certificate_is_judged_by_its_time_its_names_and_its_key(
    change: dict[str, object], level: Level, said: str
) -> None:
    facts = replace(SAFE, certificates=(replace(CERTIFICATE, **change),))
    assert levels(lines.judge_certificates, facts) == [level]
    assert said in text_of(lines.judge_certificates, facts)


@pytest.mark.parametrize(
    ("host", "holds"),
    [
        ("mesh.example.org", True),
        ("MESH.example.org.", True),
        ("10.0.0.5", True),
        ("berlin.edge.example.org", True),
        ("a.berlin.edge.example.org", False),
        ("edge.example.org", False),
        ("example.org", False),
        ("10.0.0.6", False),
    ],
)
def test_names_of_a_certificate_cover_hosts(host: str, holds: bool) -> None:
    assert lines.covers(CERTIFICATE.names, host) is holds


@pytest.mark.parametrize(
    ("scheme", "host", "level"),
    [
        ("redis", "127.0.0.1", "ok"),
        ("redis", "cache.example.org", "insecure"),
        ("redis", "10.0.0.9", "warning"),
        ("rediss", "cache.example.org", "ok"),
        ("http", "localhost", "ok"),
        ("http", "otel.example.org", "warning"),
        ("https", "qdrant.example.org", "ok"),
        ("ws", "10.0.0.9", "warning"),
        ("wss", "peaq.example.org", "ok"),
    ],
)
def test_services_elsewhere_are_reached_by_tls(scheme: str, host: str, level: Level) -> None:
    facts = replace(SAFE, urls=(UrlFact(setting="redis_url", scheme=scheme, host=host),))
    assert levels(lines.judge_urls, facts) == [level]


# --- files ---


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_secret_file_that_others_can_open_is_named(mode: int) -> None:
    facts = replace(SAFE, files=(*SAFE.files, FileFact(path=Path("c/user.nk"), mode=mode)))
    assert levels(files.judge_files, facts) == ["insecure"]
    assert "chmod 600 c/user.nk" in text_of(files.judge_files, facts)


def test_a_folder_that_others_can_enter_is_named() -> None:
    facts = replace(SAFE, files=(FileFact(path=Path("jetstream"), mode=0o755, is_folder=True),))
    assert levels(files.judge_files, facts) == ["insecure"]
    assert "chmod 700 jetstream" in text_of(files.judge_files, facts)


@pytest.mark.parametrize(
    ("did", "is_sealed", "level"),
    [
        ("did:key:z6Mk", False, "ok"),
        ("did:key:z6Mk", True, "ok"),
        ("did:pkh:eip155:1:0x0", True, "ok"),
        ("did:pkh:eip155:1:0x0", False, "warning"),
        ("did:peaq:5G", False, "warning"),
    ],
)
def test_a_key_that_owns_more_than_this_node_is_sealed(did: str, is_sealed: bool, level: Level) -> None:
    facts = replace(SAFE, keys=(KeyFact(path=Path("n.key"), did=did, is_sealed=is_sealed),))
    assert levels(files.judge_keys, facts) == [level]


def test_secrets_in_sight_are_named_and_not_shown() -> None:
    told = replace(
        SAFE.settings,
        secrets_in_variables=("IG3_REDIS_URL",),
        secrets_file=FileFact(path=Path("ig3.toml"), mode=0o644),
    )
    facts = replace(SAFE, settings=told, processes=(ProcessFact(pid=42, name="ig3"),))
    assert levels(files.judge_secrets, facts) == ["insecure", "warning", "insecure"]
    closed = replace(SAFE.settings, secrets_file=FileFact(path=Path("ig3.toml"), mode=0o600))
    assert levels(files.judge_secrets, replace(SAFE, settings=closed)) == ["ok"]


@pytest.mark.parametrize(("free", "total", "level"), [(2, 100, "ok"), (0.5, 100, "warning"), (0.2, 1, "ok")])
def test_a_disk_without_room_is_told(free: float, total: int, level: Level) -> None:
    facts = replace(SAFE, disk=DiskFact(free_bytes=int(free * GIB), total_bytes=total * GIB))
    assert levels(files.judge_disk, facts) == [level]


def test_what_a_power_cut_takes_is_told() -> None:
    risky = replace(SAFE.settings, durability="process", encrypt_store="aes")
    assert levels(files.judge_storage, replace(SAFE, settings=risky)) == ["warning", "ok"]


# --- what runs ---


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        (BrokerFact(), ["ok", "ok", "ok"]),
        (BrokerFact(problem="cannot reach the bus"), ["warning"]),
        (BrokerFact(wrong=("TASKS", "ENDED")), ["ok", "warning", "ok"]),
        (BrokerFact(ahead_s=-2.5), ["ok", "ok", "warning"]),
        (BrokerFact(ahead_s=1.5), ["ok", "ok", "ok"]),
    ],
)
def test_a_broker_is_there_as_it_should_be(broker: BrokerFact, expected: list[Level]) -> None:
    assert levels(running.judge_broker, replace(SAFE, broker=broker)) == expected


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (IdentityFact(outcome="refused", took_s=0.02), ["ok"]),
        (IdentityFact(outcome="refused", took_s=2.5), ["warning"]),
        (IdentityFact(outcome="admitted"), ["insecure"]),
        (IdentityFact(outcome="undecided"), ["warning"]),
        (IdentityFact(outcome="not asked"), []),
    ],
)
def test_whoever_shows_nothing_is_refused_at_once(identity: IdentityFact, expected: list[Level]) -> None:
    assert levels(running.judge_identity, replace(SAFE, identity=identity)) == expected


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ((2, 15, 1), "ok"),
        ((2, 16, 0), "ok"),
        ((2, 12, 6), "warning"),
        ((2, 12, 5), "insecure"),
        ((2, 9, 10), "insecure"),
        (None, "ok"),
    ],
)
def test_a_server_with_known_holes_is_named(version: tuple[int, ...] | None, level: Level) -> None:
    assert levels(running.judge_version, replace(SAFE, server_version=version)) == [level]


# --- how facts are found ---


def test_a_certificate_is_read_whoever_made_it_and_whenever_it_ends(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    found = certificate("nats_tls_cert", ours.shown("mesh.example.org"))
    assert found is not None
    assert (found.problem, found.names, found.key_mode) == ("", ("mesh.example.org",), 0o600)
    assert found.not_before is not None
    assert found.not_after is not None
    assert found.not_after - found.not_before == timedelta(days=3650)
    by_address = certificate("http_tls_cert", ours.shown())
    assert by_address is not None
    assert by_address.names == ("127.0.0.1",)
    foreign = TlsFiles(cert=ours.shown().cert, key=ours.shown("mesh.example.org").key)
    unfit = certificate("http_tls_cert", foreign)
    assert unfit is not None
    assert "the key is not that of the certificate" in unfit.problem
    missing = certificate("http_tls_cert", TlsFiles(cert=tmp_path / "nowhere.pem", key=tmp_path / "nowhere.pem"))
    assert missing is not None
    assert "No such file" in missing.problem
    assert certificate("http_tls_cert", TlsFiles()) is None


def test_command_lines_and_variables_that_show_a_secret_are_found(tmp_path: Path) -> None:
    key = f"ig3_{'a' * 13}_{'b' * 52}"
    for pid, line in (
        ("7", f"curl -H x-api-key:{key}"),
        ("8", "ig3 gateway --redis-url redis://:hunter2@cache:6379/0"),
        ("9", "psql postgres://me:hunter2@db/x"),
        ("10", "ig3 gateway --http 127.0.0.1:8080"),
    ):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes(line.replace(" ", "\0").encode())
    assert [(one.pid, one.name) for one in telling_processes(tmp_path)] == [(7, "curl"), (8, "ig3")]
    variables = {"IG3_API_KEY": key, "IG3_NATS": "127.0.0.1:4222", "IG3_BROKER_STORE_KEY": '"ab"', "OTHER": key}
    assert telling_variables(variables, fields_of(MeshSettings, "mesh")) == ("IG3_API_KEY",)


WRONG = (
    listening("gateway", "0.0.0.0:1", asks=False),
    listening("monitoring", "10.0.0.5:1"),
    replace(SAFE, files=(FileFact(path=Path("c"), mode=0o755, is_folder=True),)),
    replace(SAFE, certificates=(replace(CERTIFICATE, not_after=NOW),)),
    replace(SAFE, urls=(UrlFact(setting="redis_url", scheme="redis", host="8.8.8.8"),)),
    replace(SAFE, broker=BrokerFact(problem="away")),
    replace(SAFE, identity=IdentityFact(outcome="admitted")),
    replace(SAFE, server_version=(2, 0, 0)),
    replace(SAFE, disk=DiskFact(free_bytes=0, total_bytes=GIB)),
)


def test_every_rule_is_asked() -> None:
    judges = {name for module in (files, lines, running) for name in vars(module) if name.startswith("judge_")}
    assert {rule.__name__ for rule in RULES} == judges


@pytest.mark.parametrize(
    ("stamp_s", "ahead"), [(100.0, 0.0), (104.9, 0.0), (105.0, 0.0), (107.5, 2.5), (97.0, -3.0)], ids=str
)
def test_a_clock_is_wrong_only_by_what_no_waiting_explains(stamp_s: float, ahead: float) -> None:
    assert ahead_s(stamp_s, asked_s=100.0, answered_s=105.0) == ahead
