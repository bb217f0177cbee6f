"""Subjects: what a builder writes a parser reads back, and nothing else gets in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import subjects
from streams.errors import InvalidSubject, StreamsError
from streams.groups import subjects as group_subjects
from streams.subjects import SERVICE_CLASSES, NodeCall, ResultOrigin, Submission, TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import Token, token

TOKENS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).map(token)
KEYS = st.builds(TaskKey, TOKENS, st.integers(0, 2**48 - 1).map(new_task_id))
TASK = Token("019b7a3e00007abc8def0123456789ab")
KEY = TaskKey(Token("acme"), TASK)

PARSERS = [
    subjects.parse_submitted,
    subjects.parse_result,
    subjects.parse_ended,
    subjects.parse_call,
    subjects.parse_status,
    subjects.parse_access,
    group_subjects.parse_group,
]

HOSTILE_PARTS = ["", "*", ">", "a b", "a\tb", "a\r\n", "é", "🙂", "\0", "a" * 65, "$JS"]


def matches(pattern: str, subject: str) -> bool:
    """NATS's own rule: ``*`` is one part, a last ``>`` is one or more."""
    wanted, parts = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, parts = wanted[:-1], parts[: len(wanted) - 1] if len(parts) >= len(wanted) else []
    return len(wanted) == len(parts) and all(want in ("*", part) for want, part in zip(wanted, parts, strict=True))


@given(st.sampled_from(SERVICE_CLASSES), KEYS)
def test_a_submission_is_read_back(service_class: subjects.ServiceClass, key: TaskKey) -> None:
    subject = subjects.submitted(service_class, key)
    assert subjects.parse_submitted(subject) == Submission(service_class, key)


@given(KEYS, TOKENS)
def test_a_result_is_read_back_where_it_is_stored_and_where_it_is_live(key: TaskKey, writer: Token) -> None:
    subject = subjects.result(key, writer)
    live = subject.replace("results.", "live.", 1)
    assert subjects.parse_result(subject) == subjects.parse_result(live) == ResultOrigin(key, writer)
    assert matches(subjects.results_of(key), subject)
    assert matches(subjects.live_of(key), live)
    assert matches(subjects.live_of_account(key.account), live)
    assert matches(subjects.LIVE_ALL, live)


@given(KEYS)
def test_an_end_is_read_back_where_it_is_stored_and_where_it_is_sent_on(key: TaskKey) -> None:
    assert subjects.parse_ended(subjects.ended(key)) == subjects.parse_ended(subjects.settled(key)) == key
    assert matches(subjects.SETTLED_ALL, subjects.settled(key))


@given(TOKENS, st.sampled_from(["announce", "ask", "finished", "refused"]))
def test_a_call_of_a_node_is_read_back(node: Token, verb: subjects.NodeVerb) -> None:
    subject = subjects.node_api(node, verb)
    assert subjects.parse_call(subject) == NodeCall(node, Token(verb))
    assert matches(subjects.node_api_all(verb), subject)


@given(TOKENS, st.sampled_from(["events", "cancel"]))
def test_a_call_of_a_user_is_read_back(account: Token, verb: subjects.UserVerb) -> None:
    subject = subjects.user_api(account, verb)
    assert subjects.parse_call(subject) == NodeCall(account, Token(verb))
    assert matches(subjects.user_api_all(verb), subject)


@given(TOKENS)
def test_a_status_is_read_back(node: Token) -> None:
    assert subjects.parse_status(subjects.status(node)) == node
    assert matches(subjects.STATUS_ALL, subjects.status(node))


@given(TOKENS)
def test_an_accounts_chain_is_read_back(account: Token) -> None:
    assert subjects.parse_access(subjects.access(account)) == account
    assert group_subjects.parse_group(group_subjects.group(account)) == account


@given(KEYS, KEYS, TOKENS)
def test_a_filter_of_one_task_or_account_takes_nothing_of_another(mine: TaskKey, other: TaskKey, writer: Token) -> None:
    theirs = subjects.result(other, writer)
    assert matches(subjects.results_of(mine), theirs) == (mine == other)
    live = theirs.replace("results.", "live.", 1)
    assert matches(subjects.live_of(mine), live) == (mine == other)
    assert matches(subjects.live_of_account(mine.account), live) == (mine.account == other.account)


@given(st.text(max_size=300))
def test_a_model_of_any_name_stands_under_its_node_as_one_part(name: str) -> None:
    try:
        subject = subjects.model(Token("node-a"), name)
    except StreamsError:
        assert any("\ud800" <= letter <= "\udfff" for letter in name)
        return
    family, node, encoded = subject.split(".")
    assert (family, node, token(encoded)) == ("models", "node-a", encoded)


def test_every_subject_reads_as_the_design_says() -> None:
    node, account = Token("node-a"), KEY.account
    assert subjects.submitted("batch", KEY) == f"tasks.batch.b.acme.{TASK}.submitted"
    assert subjects.result(KEY, subjects.MESH) == f"results.b.acme.{TASK}.mesh"
    assert subjects.results_of(KEY) == f"results.b.acme.{TASK}.*"
    assert subjects.live_of(KEY) == f"live.b.acme.{TASK}.*"
    assert subjects.live_of_account(account) == "live.*.acme.>"
    assert subjects.ended(KEY) == f"ended.b.acme.{TASK}"
    assert subjects.settled(KEY) == f"settled.b.acme.{TASK}"
    assert subjects.model(node, "m1") == "models.node-a.m1"
    assert subjects.device(node, "lost") == "devices.node-a.lost"
    assert subjects.status(node) == "status.node-a"
    assert subjects.access(account) == "access.acme"
    assert group_subjects.group(Token("g1")) == "groups.g1"
    assert subjects.nonce(Token("0a")) == "nonces.0a"
    assert subjects.node_inbox(node, "assign") == "node.node-a.assign"
    assert subjects.node_inbox_all(node) == "node.node-a.>"
    assert subjects.node_api(node, "announce") == "api.node.node-a.announce"
    assert subjects.user_api(account, "events") == "api.user.acme.events"
    assert subjects.node_inbox_prefix(node) == "_INBOX.node.node-a"
    assert subjects.user_inbox_prefix(account) == "_INBOX.user.acme"


REAL = [
    (subjects.parse_submitted, subjects.submitted("standard", KEY)),
    (subjects.parse_result, subjects.result(KEY, Token("node-a"))),
    (subjects.parse_ended, subjects.ended(KEY)),
    (subjects.parse_call, subjects.user_api(KEY.account, "cancel")),
    (subjects.parse_status, subjects.status(Token("node-a"))),
    (subjects.parse_access, subjects.access(KEY.account)),
    (group_subjects.parse_group, group_subjects.group(Token("g1"))),
]


@pytest.mark.parametrize(("parse", "subject"), REAL)
@pytest.mark.parametrize("hostile", HOSTILE_PARTS)
def test_a_hostile_part_anywhere_is_refused(parse: object, subject: str, hostile: str) -> None:
    assert callable(parse)
    parts = subject.split(".")
    for place in range(len(parts)):
        changed = [*parts[:place], hostile, *parts[place + 1 :]]
        with pytest.raises(InvalidSubject):
            parse(".".join(changed))


@pytest.mark.parametrize(("parse", "subject"), REAL)
def test_a_subject_of_another_length_or_family_is_refused(parse: object, subject: str) -> None:
    assert callable(parse)
    others = [other for parser, other in REAL if parser is not parse]
    for wrong in (f"{subject}.more", subject.rsplit(".", 1)[0], f".{subject}", f"{subject}.", *others):
        with pytest.raises(InvalidSubject):
            parse(wrong)


@pytest.mark.parametrize(
    "subject",
    [
        f"tasks.standard.a.acme.{TASK}.submitted",  # not the bucket of this id
        f"tasks.urgent.b.acme.{TASK}.submitted",
        f"tasks.standard.b.acme.{TASK.upper()}.submitted",  # one id, one spelling
        "tasks.standard.b.acme.019b7a3e-0000-7abc-8def-0123456789ab.submitted",
        f"tasks.standard.b.acme.{TASK}.Submitted",
        "tasks.standard.b.acme.not-a-task-b.submitted",
    ],
)
def test_a_submission_that_names_its_task_otherwise_is_refused(subject: str) -> None:
    with pytest.raises(InvalidSubject):
        subjects.parse_submitted(subject)


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.text())
def test_arbitrary_text_is_no_subject(parse: object, text: str) -> None:
    assert callable(parse)
    with pytest.raises(InvalidSubject):
        parse(text)
