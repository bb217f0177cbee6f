"""Any interleaving of holds, ends, repeats, crashes and new prices leaves the books whole (hypothesis)."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from streams.billing.events import (
    LedgerPosted,
    PlanSet,
    Posting,
    PriceRule,
    PricesSet,
    Transaction,
)
from streams.billing.log import AnyBillingEvent
from streams.billing.messages import Held, HoldWanted
from streams.billing.money import FEES, user
from streams.billing.subjects import Chain, account_chain, book_chain, parse_chain
from streams.codec import decode_billing_event, encode
from streams.events import AttemptShare, EndEvent, TaskCancelled, TaskCompleted, TaskDead, TaskError, TaskFailed
from streams.ledger.charging import settle, unreadable
from streams.ledger.corrections import Part, SuspenseBook, correct, correction_id
from streams.ledger.dump import dump, load
from streams.ledger.fold import LedgerState
from streams.ledger.holding import Taken, decide, floor_nano, held_by
from streams.subjects import TaskKey
from streams.tasks.chat import Usage
from streams.tasks.metering import Metered
from streams.tokens import Token

ACCOUNTS = (Token("acme"), Token("other"))
NODES = ("node-a", "node-b", "node-c")
BEGAN_MS = 1_767_225_600_000
MOST = 40
ERROR = TaskError(code="node_lost", message="gone", status=502)


def task_of(number: int) -> Token:
    """A task id whose time is the machine's."""
    return Token(f"{BEGAN_MS + number:012x}7{number:03x}8{number:015x}")


class Book:
    """The stream: what is stored stays, and each chain is fenced."""

    def __init__(self) -> None:
        self.stored: list[tuple[str, bytes]] = []

    def last_of(self, subject: str) -> int:
        return max((at for at, (name, _) in enumerate(self.stored, 1) if name == subject), default=0)

    def append(self, subject: str, data: bytes, expected: int) -> int | None:
        if self.last_of(subject) != expected:
            return None
        self.stored.append((subject, data))
        return len(self.stored)


class LedgerMachine(RuleBasedStateMachine):
    """Two ledgers on one stream: one of them has often not read what the other wrote."""

    holds = Bundle("holds")
    ended = Bundle("ended")

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.ledgers = [LedgerState(), LedgerState()]
        self.clock_ms = BEGAN_MS
        self.tasks = 0
        self.delivered: dict[TaskKey, int] = {}
        self.paid_in: dict[str, int] = {}

    def read(self, ledger: LedgerState) -> None:
        for sequence, (subject, data) in enumerate(self.book.stored, 1):
            ledger.apply(sequence, subject, data)

    def write(self, which: int, chain: Chain, compose: Any) -> AnyBillingEvent | None:
        """As ``Books.write``: fenced, and composed anew after reading on."""
        ledger = self.ledgers[which]
        while True:
            state = ledger.chain(chain.subject)
            event = compose(ledger, state)
            if event is None:
                return None
            data = encode(event)
            sequence = self.book.append(chain.subject, data, state.last_sequence)
            if sequence is not None:
                ledger.apply(sequence, chain.subject, data)
                return event
            self.read(ledger)

    @rule(which=st.integers(0, 1), prompt=st.integers(0, 50), completion=st.integers(0, 50), fee=st.integers(0, 10**6))
    def new_prices(self, which: int, prompt: int, completion: int, fee: int) -> None:
        self.read(self.ledgers[which])

        def compose(ledger: LedgerState, state: Any) -> PricesSet:
            return PricesSet(
                at_ms=self.clock_ms,
                previous=state.digest,
                version=ledger.prices.newest_version + 1,
                effective_at_ms=self.clock_ms,
                currency="EUR",
                rules=(PriceRule(model="m", prompt=prompt, cached_prompt=prompt // 2, completion=completion),),
                fee_ppm=fee,
            )

        self.write(which, book_chain("prices"), compose)
        # Every ledger knows a list before it holds: see `ig3 prices set`.
        for ledger in self.ledgers:
            self.read(ledger)

    @rule(which=st.integers(0, 1), account=st.sampled_from(ACCOUNTS), amount=st.integers(1, 5000), n=st.integers(0, 3))
    def pay_in(self, which: int, account: Token, amount: int, n: int) -> None:
        def compose(_: LedgerState, state: Any) -> LedgerPosted | None:
            if state.has(f"deposit:{n}"):
                return None
            postings = (
                Posting(account="outside", amount_nano=-amount),
                Posting(account=f"user:{account}", amount_nano=amount),
            )
            deposit = Transaction(
                id=f"deposit:{n}", kind="deposit", at_ms=self.clock_ms, currency="EUR", postings=postings
            )
            return LedgerPosted(at_ms=self.clock_ms, previous=state.digest, transactions=(deposit,))

        if self.write(which, account_chain(account), compose) is not None:
            self.paid_in[account] = self.paid_in.get(account, 0) + amount

    @rule(which=st.integers(0, 1), account=st.sampled_from(ACCOUNTS), limit=st.integers(0, 3000))
    def pays_afterwards(self, which: int, account: Token, limit: int) -> None:
        def compose(_: LedgerState, state: Any) -> PlanSet | None:
            standing = state.plan.limit_nano if state.plan else 0
            # A limit that is lowered below what is used already is no fault of the books.
            if limit <= standing:
                return None
            return PlanSet(at_ms=self.clock_ms, previous=state.digest, kind="postpaid", limit_nano=limit)

        self.write(which, account_chain(account), compose)

    @rule(
        target=holds,
        which=st.integers(0, 1),
        account=st.sampled_from(ACCOUNTS),
        prompt=st.integers(0, MOST),
        completion=st.integers(0, MOST),
    )
    def ask(self, which: int, account: Token, prompt: int, completion: int) -> tuple[TaskKey, int, int, bool]:
        self.tasks += 1
        self.clock_ms += 1
        key = TaskKey(account, task_of(self.tasks))
        want = HoldWanted(
            account=account,
            task=key.task,
            model="m",
            prompt_tokens_most=prompt,
            completion_tokens_most=completion,
        )
        answers: list[Any] = []

        def compose(ledger: LedgerState, state: Any) -> LedgerPosted | None:
            taken = Taken()
            found = decide(ledger, state, want, taken, at_ms=self.clock_ms)
            answers.append(held_by(found) if isinstance(found, Transaction) else found)
            if not taken.holds:
                return None
            return LedgerPosted(at_ms=self.clock_ms, previous=state.digest, transactions=tuple(taken.holds.values()))

        self.write(which, account_chain(account), compose)
        return key, prompt, completion, isinstance(answers[-1], Held)

    @rule(
        target=ended,
        held=consumes(holds),
        outcome=st.sampled_from(["completed", "failed", "cancelled", "dead"]),
        tokens=st.lists(st.tuples(st.sampled_from(NODES), st.integers(0, MOST // 2), st.booleans()), max_size=3),
        cached=st.integers(0, MOST),
    )
    def end(
        self,
        held: tuple[TaskKey, int, int, bool],
        outcome: str,
        tokens: list[tuple[str, int, bool]],
        cached: int,
    ) -> tuple[TaskKey, EndEvent]:
        """A task that was refused fails without a word; the others deliver text, over several attempts perhaps."""
        key, prompt, completion, is_accepted = held
        shares, left = [], completion if is_accepted else 0
        for attempt, (node, count, signed) in enumerate(tokens, 1):
            count = min(count, left)
            left -= count
            shares.append(AttemptShare(attempt=attempt, node=node, chars=count, tokens=count, signed=signed))
        done = sum(share.tokens for share in shares)
        metered = Metered(prompt_tokens=prompt, cached_prompt_tokens=min(cached, prompt))
        at_ms, common = self.clock_ms, {"model": "m", "final_n": 1, "shares": tuple(shares), "metered": metered}
        if not is_accepted or outcome == "failed":
            event: EndEvent = TaskFailed(at_ms=at_ms, error=ERROR, **common)  # type: ignore[arg-type] # fields of four
        elif outcome == "completed":
            usage = Usage(prompt_tokens=prompt, cached_prompt_tokens=min(cached, prompt), completion_tokens=done)
            event = TaskCompleted(at_ms=at_ms, finish_reason="stop", usage=usage, **common)  # type: ignore[arg-type] # same
        elif outcome == "cancelled":
            event = TaskCancelled(at_ms=at_ms, reason="asked", **common)  # type: ignore[arg-type] # same
        else:
            event = TaskDead(at_ms=at_ms, error=ERROR, failures=(), **common)  # type: ignore[arg-type] # same
        return key, event

    @rule(which=st.integers(0, 1), done=ended)
    def deliver(self, which: int, done: tuple[TaskKey, EndEvent]) -> None:
        """An end comes, for the first time or again, to either ledger."""
        key, event = done

        def compose(ledger: LedgerState, state: Any) -> AnyBillingEvent | None:
            if state.is_settled(key.task):
                return None
            settled = settle(key, event, state.holds.get(key.task), ledger.prices, at_ms=self.clock_ms)
            suspended = settled.suspended(previous=state.digest)
            return suspended or LedgerPosted(
                at_ms=self.clock_ms, previous=state.digest, transactions=(settled.transaction,)
            )

        self.write(which, account_chain(key.account), compose)

    @rule(which=st.integers(0, 1), held=consumes(holds))
    def end_that_nobody_can_read(self, which: int, held: tuple[TaskKey, int, int, bool]) -> None:
        """What was held for it goes to suspense."""
        key = held[0]

        def compose(_: LedgerState, state: Any) -> AnyBillingEvent | None:
            if state.is_settled(key.task):
                return None
            settled = unreadable(key, state.holds.get(key.task), "no event", at_ms=self.clock_ms)
            return settled.suspended(previous=state.digest)

        self.write(which, account_chain(key.account), compose)

    @rule(which=st.integers(0, 1), part_nano=st.integers(0, 500), place=st.integers(0, 3), is_late=st.booleans())
    def correct_what_lies_there(self, which: int, part_nano: int, place: int, is_late: bool) -> None:
        """Somebody takes an entry out of suspense, perhaps one that another has just taken out."""
        suspense = SuspenseBook()
        for sequence, (subject, data) in enumerate(self.book.stored, 1):
            suspense.take(sequence, parse_chain(subject), decode_billing_event(data))
        entries = [each for each in suspense.newest_first if each.amount_nano and (is_late or each.lies_nano)]
        if not entries:
            return
        entry = entries[place % len(entries)]
        part = min(part_nano, entry.amount_nano - 1)
        given = () if part == 0 else (Part(FEES, part),)
        back = Part(user(Token(entry.account)))

        def compose(_: LedgerState, state: Any) -> AnyBillingEvent | None:
            if state.has(correction_id(entry.id)):
                return None
            transaction = correct(entry, (*given, back), at_ms=self.clock_ms, by="a test", note="")
            return LedgerPosted(at_ms=self.clock_ms, previous=state.digest, transactions=(transaction,))

        self.write(which, account_chain(Token(entry.account)), compose)

    @rule(which=st.integers(0, 1), keeps_snapshot=st.booleans())
    def crash(self, which: int, keeps_snapshot: bool) -> None:
        """A ledger dies; what comes instead begins at its snapshot or at nothing, and reads on when it must."""
        fresh = LedgerState()
        if keeps_snapshot:
            load(fresh, dump(self.ledgers[which]))
        self.ledgers[which] = fresh
        self.read(fresh)

    @rule(days=st.integers(0, 3))
    def time_passes(self, days: int) -> None:
        self.clock_ms += days * 3_600_000

    @invariant()
    def the_books_are_whole(self) -> None:
        whole = LedgerState()
        self.read(whole)
        assert whole.fault_count == 0, whole.faults
        assert sum(whole.balances.values()) == 0
        for account in ACCOUNTS:
            chain = whole.chain(account_chain(account).subject)
            assert whole.balance(f"user:{account}", "EUR") >= floor_nano(chain.plan)
            aside = sum(hold.amount_nano for hold in chain.holds.values())
            assert whole.balance(f"held:{account}", "EUR") == aside
        self.charges_are_what_was_delivered(whole)

    def charges_are_what_was_delivered(self, whole: LedgerState) -> None:
        spent = dict.fromkeys(ACCOUNTS, 0)
        for account, row, tally in whole.usage.rows():
            spent[Token(account)] += tally.amount_nano if row.currency == "EUR" else 0
        earned = sum(
            amount for (name, _), amount in whole.balances.items() if name.startswith(("node:", "fees", "round"))
        )
        assert sum(spent.values()) == earned
        lies = 0
        for account in ACCOUNTS:
            chain = whole.chain(account_chain(account).subject)
            suspended = sum(hold.amount_nano for hold in chain.suspended.values())
            aside = sum(hold.amount_nano for hold in chain.holds.values())
            there = whole.balance(f"user:{account}", "EUR") + whole.balance(f"held:{account}", "EUR")
            assert there + spent[account] + suspended == self.paid_in.get(account, 0)
            # What budgets count: charges, what runs, and what lies in suspense; nothing that was given back.
            in_months = sum(chain.spent_nano(place.month, "EUR") for place in chain.spent if place.key is None)
            assert in_months == spent[account] + aside + suspended
            lies += suspended
        assert whole.balance("suspense", "EUR") == lies

    def teardown(self) -> None:
        for ledger in self.ledgers:
            self.read(ledger)
        assert dump(self.ledgers[0]) == dump(self.ledgers[1])


LedgerMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestLedger = LedgerMachine.TestCase
