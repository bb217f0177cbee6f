"""What golden files of BILLING mean: a part of ``tests.unit.golden_events``."""

from typing import get_args

from streams.billing.events import (
    HoldTerms,
    KeyBudget,
    LedgerPosted,
    LedgerSuspended,
    PeriodSealed,
    PlanSet,
    Posting,
    PriceRule,
    PricesSet,
    SuspenseCode,
    Total,
    Transaction,
    TransactionKind,
    Used,
)

_AT_MS = 1_767_225_600_123
_MODEL = "smollm2-135m-instruct"
_TASK = "019b7a3e00007abc8def012345678900"
_PREVIOUS = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

_HOLD = Transaction(
    id=f"hold:{_TASK}",
    kind="hold",
    at_ms=_AT_MS,
    currency="EUR",
    postings=(Posting(account="user:acme", amount_nano=-900), Posting(account="held:acme", amount_nano=900)),
    task=_TASK,
    hold=HoldTerms(
        price_version=3,
        model=_MODEL,
        kind="chat",
        tier="cloud",
        key="k7q2mzx4c5ta",
        prompt_tokens_most=100,
        completion_tokens_most=400,
    ),
)
_CHARGE = Transaction(
    id=f"charge:{_TASK}",
    kind="charge",
    at_ms=_AT_MS,
    currency="EUR",
    postings=(
        Posting(account="held:acme", amount_nano=-900),
        Posting(account="user:acme", amount_nano=401),
        Posting(account="node:node-a", amount_nano=300, attempt=1),
        Posting(account="fees", amount_nano=148),
        Posting(account="fees", amount_nano=50, attempt=2, why="unsigned"),
        Posting(account="rounding", amount_nano=1),
    ),
    task=_TASK,
    used=Used(
        model=_MODEL,
        kind="chat",
        tier="edge",
        key="k7q2mzx4c5ta",
        price_version=3,
        outcome="completed",
        prompt_tokens=31,
        cached_prompt_tokens=16,
        completion_tokens=13,
    ),
)
_DEPOSIT = Transaction(
    id="deposit:invoice-7",
    kind="deposit",
    at_ms=_AT_MS,
    currency="EUR",
    postings=(
        Posting(account="outside", amount_nano=-(2**62)),
        Posting(account="user:acme", amount_nano=2**62),
    ),
    by="operator",
    note="Überweisung 世界",
)


def _plain(kind: TransactionKind, account: str, *, task: str | None = None, used: Used | None = None) -> Transaction:
    postings = (Posting(account="suspense", amount_nano=-5), Posting(account=account, amount_nano=5))
    return Transaction(id=f"{kind}:1", kind=kind, at_ms=_AT_MS, currency="EUR", postings=postings, task=task, used=used)


_OTHERS = {
    "withdrawal": _plain("withdrawal", "outside"),
    "release": _plain("release", "user:acme", task=_TASK),
    "cache_hit": _plain(
        "cache_hit",
        "fees",
        used=Used(model=_MODEL, price_version=3, prompt_tokens=12, completion_tokens=34, times=100),
    ),
    "reward": _plain("reward", "rewards"),
    "payout": _plain("payout", "paying:node-a"),
    "correction": _plain("correction", "rounding"),
}

_USED = (
    Used(model=_MODEL, kind="embedding", tier="group", price_version=0, outcome="failed"),
    Used(model=_MODEL, kind="embedding", tier="cloud", price_version=0, outcome="cancelled"),
    Used(model=_MODEL, kind="embedding", tier="group", price_version=0, outcome="dead"),
)
_OUTCOMES = tuple(
    Transaction(id=f"charge:{number}", kind="charge", at_ms=_AT_MS, currency="EUR", used=used)
    for number, used in enumerate(_USED)
)
_WAYS = (
    _OTHERS["withdrawal"],
    Transaction(
        id="hold:2",
        kind="hold",
        at_ms=_AT_MS,
        currency="EUR",
        hold=HoldTerms(
            price_version=3,
            model=_MODEL,
            kind="embedding",
            tier="group",
            prompt_tokens_most=100,
            completion_tokens_most=0,
        ),
    ),
    Transaction(
        id="hold:3",
        kind="hold",
        at_ms=_AT_MS,
        currency="EUR",
        hold=HoldTerms(price_version=3, model=_MODEL, tier="edge", prompt_tokens_most=100, completion_tokens_most=0),
    ),
)

_SUSPENDED = Transaction(
    id=f"charge:{_TASK}",
    kind="suspense",
    at_ms=_AT_MS,
    currency="EUR",
    postings=(Posting(account="held:acme", amount_nano=-900), Posting(account="suspense", amount_nano=900)),
    task=_TASK,
)

BILLING = {
    "ledger.posted.v1": LedgerPosted(at_ms=_AT_MS, previous=_PREVIOUS, transactions=(_HOLD, _CHARGE, _DEPOSIT)),
    **{
        f"ledger.posted.v1.{kind}": LedgerPosted(at_ms=_AT_MS, previous=_PREVIOUS, transactions=(transaction,))
        for kind, transaction in _OTHERS.items()
    },
    "ledger.posted.v1.outcomes": LedgerPosted(
        at_ms=_AT_MS,
        previous=_PREVIOUS,
        transactions=(*_OUTCOMES, *_WAYS, _SUSPENDED),
    ),
    "ledger.posted.v1.minimal": LedgerPosted(
        at_ms=_AT_MS, transactions=(Transaction(id="a", kind="charge", at_ms=_AT_MS, currency="EUR"),)
    ),
    **{
        f"ledger.suspended.v1.{code}": LedgerSuspended(
            at_ms=_AT_MS,
            previous=_PREVIOUS,
            code=code,
            message="somebody must look",
            transaction=_SUSPENDED,
            node="node-a",
            claimed_nano=901,
        )
        for code in get_args(SuspenseCode)
    },
    "ledger.suspended.v1.minimal": LedgerSuspended(
        at_ms=_AT_MS,
        code="unreadable",
        message="",
        transaction=Transaction(id="a", kind="suspense", at_ms=_AT_MS, currency="EUR"),
    ),
    **{
        f"ledger.suspended.v1.with-{transaction.kind}-{number}": LedgerSuspended(
            at_ms=_AT_MS, code="no_hold", message="each word once", transaction=transaction
        )
        for number, transaction in enumerate((_HOLD, _CHARGE, _DEPOSIT, *_OTHERS.values(), *_OUTCOMES, *_WAYS))
    },
    "prices.set.v1": PricesSet(
        at_ms=_AT_MS,
        previous=_PREVIOUS,
        version=3,
        effective_at_ms=_AT_MS + 86_400_000,
        currency="EUR",
        rules=(
            PriceRule(model=_MODEL, tier="cloud", prompt=150, cached_prompt=75, completion=600, embedding=20),
            PriceRule(model="a*", tier="edge", prompt=1, completion=2),
            PriceRule(model="b*", tier="group"),
            PriceRule(model="*"),
        ),
        fee_ppm=100_000,
        cached_answer_ppm=250_000,
        by="operator",
    ),
    "prices.set.v1.minimal": PricesSet(at_ms=_AT_MS, version=1, effective_at_ms=_AT_MS, currency="PEAQ", rules=()),
    "plan.set.v1": PlanSet(
        at_ms=_AT_MS,
        previous=_PREVIOUS,
        kind="postpaid",
        currency="EUR",
        limit_nano=5_000_000_000,
        monthly_nano=20_000_000_000,
        keys=(KeyBudget(key="k7q2mzx4c5ta", monthly_nano=1_000_000_000),),
        by="operator",
    ),
    "plan.set.v1.minimal": PlanSet(at_ms=_AT_MS, kind="prepaid"),
    "plan.set.v1.free": PlanSet(at_ms=_AT_MS, kind="free"),
    "period.sealed.v1": PeriodSealed(
        at_ms=_AT_MS,
        previous=_PREVIOUS,
        period="2026-11",
        first_sequence=1,
        last_sequence=400,
        events=400,
        transactions=9000,
        digest="0" * 64,
        totals_digest="f" * 64,
        totals=(Total(account="fees", currency="EUR", amount_nano=148),),
    ),
    "period.sealed.v1.minimal": PeriodSealed(
        at_ms=_AT_MS,
        period="2026-11",
        first_sequence=0,
        last_sequence=0,
        events=0,
        transactions=0,
        digest="0" * 64,
        totals_digest="0" * 64,
    ),
}
