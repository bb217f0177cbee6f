"""Streams and consumers as values: each bucket has one home, and no two streams want the same message."""

from datetime import timedelta
from itertools import combinations

import pytest

from streams import subjects
from streams.account_subjects import account_subjects, holds_content, is_copy
from streams.batches import subjects as batch_subjects
from streams.billing import subjects as billing_subjects
from streams.cache import subjects as cache_subjects
from streams.consumers import consumer_name, consumer_specs
from streams.files import subjects as file_subjects
from streams.groups import subjects as group_subjects
from streams.sites import hub_streams
from streams.stores import subjects as store_subjects
from streams.stores.subjects import StoreKey
from streams.subjects import SERVICE_CLASSES, TaskKey
from streams.tasks.task_id import BUCKETS, new_task_id
from streams.tokens import Token
from streams.topology import (
    ACK_WAIT,
    CHAIN_KEPT,
    LIMITS_KEPT,
    NONCES_KEPT,
    SESSIONS_KEPT,
    Retention,
    StreamSpec,
    results_stream,
    stream_specs,
)

COUNTS = range(1, 17)
ACCOUNT = Token("acme")
STORE = StoreKey(ACCOUNT, Token("vs1"))
EVERYTHING = (*stream_specs(), *hub_streams(Token("berlin"), results_streams=4))


def overlap(one: str, other: str) -> bool:
    """Whether some subject matches both patterns; none of ours uses ``>``."""
    parts = list(zip(one.split("."), other.split("."), strict=False))
    return one.count(".") == other.count(".") and all("*" in pair or pair[0] == pair[1] for pair in parts)


def homes(specs: tuple[StreamSpec, ...], subject: str) -> list[str]:
    return [spec.name for spec in specs if any(overlap(pattern, subject) for pattern in spec.subjects)]


def key_in(bucket: str) -> TaskKey:
    return TaskKey(ACCOUNT, Token(f"{new_task_id()[:-1]}{bucket}"))


@pytest.mark.parametrize("count", COUNTS)
def test_every_bucket_has_exactly_one_results_stream(count: int) -> None:
    specs = stream_specs(results_streams=count)
    for bucket in BUCKETS:
        subject = subjects.result(key_in(bucket), Token("node-a"))
        assert homes(specs, subject) == [results_stream(bucket, count)]


@pytest.mark.parametrize("count", COUNTS)
def test_buckets_spread_evenly_over_exactly_as_many_streams_as_asked(count: int) -> None:
    held = [len(spec.subjects) for spec in stream_specs(results_streams=count) if spec.name.startswith("RESULTS_")]
    assert (len(held), sum(held)) == (count, len(BUCKETS))
    assert max(held) - min(held) <= 1
    assert {results_stream(bucket, count) for bucket in BUCKETS} == {f"RESULTS_{index}" for index in range(count)}


@pytest.mark.parametrize("count", [-1, 0, 17])
def test_no_other_number_of_results_streams_is_possible(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 16"):
        stream_specs(results_streams=count)


@pytest.mark.parametrize("count", COUNTS)
def test_no_two_streams_overlap_and_none_stores_what_another_sends_on(count: int) -> None:
    specs = stream_specs(results_streams=count)
    patterns = [pattern for spec in specs for pattern in spec.subjects]
    assert [pair for pair in combinations(patterns, 2) if overlap(*pair)] == []
    assert len({spec.name for spec in specs}) == len(specs)
    resent = {spec.republish.destination.split(".")[0] for spec in specs if spec.republish}
    assert resent == {"live", "settled"}
    assert resent.isdisjoint(pattern.split(".")[0] for pattern in patterns)


def test_each_family_of_subjects_is_stored_where_the_design_says() -> None:
    specs, key = stream_specs(results_streams=1), key_in("f")
    stored = {
        subjects.submitted("batch", key): "TASKS",
        subjects.result(key, subjects.MESH): "RESULTS_0",
        subjects.ended(key): "ENDED",
        subjects.dead(key): "DEAD",
        subjects.request_key(ACCOUNT, Token("0a")): "KEYS",
        subjects.UNREADABLE_SUBMISSION: "UNREADABLE",
        subjects.model(Token("node-a"), "any/model: 7B"): "MODELS",
        subjects.device(Token("node-a"), "lost"): "DEVICES",
        group_subjects.group(Token("g1")): "GROUPS",
        file_subjects.file(ACCOUNT, Token("f1")): "FILES",
        file_subjects.file_part(ACCOUNT, Token("f1"), 0): "FILE_PARTS",
        batch_subjects.batch(ACCOUNT, Token("b1")): "BATCHES",
        store_subjects.store(STORE): "STORES",
        store_subjects.passages(STORE, Token("f1"), 7, 0): "PASSAGES",
        billing_subjects.account_chain(ACCOUNT).subject: "BILLING",
        billing_subjects.book_chain("payouts").subject: "BILLING",
        billing_subjects.book_chain("prices").subject: "BILLING",
        subjects.limit_state("account", ACCOUNT): "LIMITS",
        subjects.access(ACCOUNT): "ACCESS",
        subjects.nonce(Token("0a")): "NONCES",
        subjects.session(Token("0a")): "SESSIONS",
        subjects.chain_reading(Token("a")): "CHAIN",
        cache_subjects.cache_entry(ACCOUNT, Token("0a")): "CACHE",
        cache_subjects.cache_hits(ACCOUNT): "HITS",
    }
    assert {subject: homes(specs, subject) for subject in stored} == {
        subject: [name] for subject, name in stored.items()
    }


def test_what_travels_on_core_nats_is_stored_nowhere() -> None:
    node, key = Token("node-a"), key_in("0")
    passing = [
        subjects.status(node),
        subjects.node_inbox(node, "assign"),
        subjects.node_api(node, "ask"),
        subjects.user_api(ACCOUNT, "cancel"),
        subjects.settled(key),
        subjects.backlog(node),
        store_subjects.SEARCH,
        billing_subjects.ledger_api("hold"),
        subjects.result(key, node).replace("results.", "live.", 1),
    ]
    assert [homes(stream_specs(), subject) for subject in passing] == [[]] * len(passing)


def test_facts_are_kept_apart_from_claims() -> None:
    accounts = {spec.name: spec.account for spec in stream_specs(results_streams=2)}
    assert accounts == {
        "TASKS": "EDGE",
        "RESULTS_0": "EDGE",
        "RESULTS_1": "EDGE",
        "ENDED": "CORE",
        "DEAD": "CORE",
        "KEYS": "CORE",
        "UNREADABLE": "CORE",
        "MODELS": "CORE",
        "DEVICES": "CORE",
        "GROUPS": "CORE",
        "FILES": "CORE",
        "FILE_PARTS": "CORE",
        "BATCHES": "CORE",
        "STORES": "CORE",
        "PASSAGES": "CORE",
        "BILLING": "CORE",
        "LIMITS": "CORE",
        "ACCESS": "CORE",
        "NONCES": "CORE",
        "SESSIONS": "CORE",
        "CHAIN": "CORE",
        "CACHE": "CORE",
        "HITS": "CORE",
    }


def test_only_submissions_ends_keys_nonces_sessions_parts_and_passages_of_files_are_one_per_subject() -> None:
    found = {spec.name for spec in stream_specs() if spec.one_per_subject}
    assert found == {"TASKS", "ENDED", "KEYS", "NONCES", "SESSIONS", "FILE_PARTS", "PASSAGES"}


def test_only_the_state_of_limits_of_the_chain_and_of_the_cache_is_no_history() -> None:
    assert {spec.name for spec in stream_specs() if spec.newest_only} == {"LIMITS", "CHAIN", "CACHE"}
    assert not any(spec.newest_only and spec.one_per_subject for spec in stream_specs())


def test_retention_and_replicas_reach_every_stream() -> None:
    kept = Retention(content=timedelta(hours=2), ends=timedelta(days=3))
    specs = stream_specs(results_streams=1, retention=kept, replicas=3)
    assert {spec.name: spec.max_age for spec in specs} == {
        "TASKS": kept.content,
        "RESULTS_0": kept.content,
        "ENDED": kept.ends,
        "DEAD": kept.ends,
        "KEYS": kept.content,
        "UNREADABLE": kept.ends,
        "MODELS": None,
        "DEVICES": None,
        "GROUPS": None,
        "FILES": None,
        "FILE_PARTS": None,
        "BATCHES": None,
        "STORES": None,
        "PASSAGES": None,
        "BILLING": None,
        "LIMITS": LIMITS_KEPT,
        "ACCESS": None,
        "NONCES": NONCES_KEPT,
        "SESSIONS": SESSIONS_KEPT,
        "CHAIN": CHAIN_KEPT,
        "CACHE": kept.content,
        "HITS": kept.ends,
    }
    assert {spec.replicas for spec in specs} == {3}


def test_ends_outlive_the_content_they_charge_for() -> None:
    assert Retention().ends > Retention().content


def test_only_the_cache_has_a_size_of_its_own() -> None:
    assert {spec.name: spec.max_bytes for spec in stream_specs(cache_bytes=1000) if spec.max_bytes} == {"CACHE": 1000}
    assert not any(spec.max_bytes for spec in stream_specs())


def test_each_class_has_a_consumer_that_sees_its_own_tasks_only() -> None:
    specs = {spec.name: spec for spec in consumer_specs() if spec.stream == "TASKS"}
    assert list(specs) == [consumer_name(service_class) for service_class in SERVICE_CLASSES]
    for service_class in SERVICE_CLASSES:
        subject = subjects.submitted(service_class, key_in("3"))
        seen_by = [spec.name for spec in specs.values() if subject.startswith(spec.filter_subject.removesuffix(">"))]
        assert seen_by == [consumer_name(service_class)]


def test_consumers_wait_on_work_and_on_what_is_to_be_charged_and_hand_over_within_seconds() -> None:
    assert {(spec.stream, spec.account) for spec in consumer_specs()} == {
        ("TASKS", "EDGE"),
        ("BATCHES", "CORE"),
        ("STORES", "CORE"),
        ("ENDED", "CORE"),
        ("HITS", "CORE"),
    }
    assert {spec.ack_wait for spec in consumer_specs()} == {ACK_WAIT}
    assert timedelta(seconds=5) <= ACK_WAIT <= timedelta(seconds=6)


def test_what_is_one_accounts_is_found_in_every_stream_that_holds_anything_of_it() -> None:
    found = {spec.name: account_subjects(spec, ACCOUNT) for spec in EVERYTHING}
    assert found["TASKS"] == tuple(f"tasks.{one}.*.acme.*.submitted" for one in ("interactive", "standard", "batch"))
    assert found["RESULTS_0"][0] == "results.0.acme.*.*"
    assert found["ENDED"] == ("ended.*.acme.*",)
    assert (found["KEYS"], found["DEAD"]) == (("keys.acme.*",), ("dead.acme.*",))
    assert (found["STORES"], found["PASSAGES"]) == (("stores.acme.*",), ("passages.acme.*.*.*.*",))
    assert (found["CACHE"], found["HITS"]) == (("cache.acme.*",), ("hits.acme",))
    assert (found["ACCESS"], found["BILLING"]) == (("access.acme",), ("billing.acme",))
    assert "site.berlin.ended.*.acme.*" in found["SITE_berlin_ENDED"]
    assert not any(found[name] for name in ("MODELS", "DEVICES", "NONCES", "UNREADABLE"))


def test_only_content_may_be_deleted() -> None:
    erasable = {spec.name for spec in EVERYTHING if spec.is_erasable}
    files = {"FILES", "FILE_PARTS", "BATCHES", "STORES", "PASSAGES"}
    assert erasable == {"TASKS", "KEYS", "UNREADABLE", "CACHE", *files, *(f"RESULTS_{number}" for number in range(4))}
    assert {spec.name for spec in EVERYTHING if holds_content(spec)} == erasable - {"UNREADABLE"}
    assert {spec.name for spec in EVERYTHING if is_copy(spec)} == {"SITE_berlin_TASKS", "SITE_berlin_RESULTS"}
