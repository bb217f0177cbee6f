"""What nodes have read before: blocks of prompts, and the bounded memory of them."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.scheduling.prefixes import BLOCK_CHARS, BLOCK_TOKENS, MOST_BLOCKS, PrefixMemory, blocks_of
from gateway.scheduling.wish import Wish
from streams.tasks.chat import Message
from tests.unit.scheduling.fleets import KEY, node, scheduler

SALT = b"s" * 16


def blocks(*contents: str, account: str = "a", salt: bytes = SALT) -> tuple[bytes, ...]:
    return blocks_of([Message(role="user", content=text) for text in contents], account=account, salt=salt)


def long(letter: str, count: int = 1) -> str:
    return letter * (BLOCK_CHARS * count)


def test_prompts_share_the_blocks_of_their_common_beginning_and_no_other():
    one, two = blocks(long("s", 2), long("x", 2)), blocks(long("s", 2), long("y", 2))

    assert one[:2] == two[:2]
    assert not set(one[2:]) & set(two[2:])


def test_accounts_and_processes_share_no_block():
    assert not set(blocks(long("s", 3))) & set(blocks(long("s", 3), account="b"))
    assert not set(blocks(long("s", 3))) & set(blocks(long("s", 3), salt=b"t" * 16))


def test_a_raw_prompt_shares_its_beginning_with_raw_prompts_alone():
    raw, longer = (blocks_of((), long("s", count), account="a", salt=SALT) for count in (3, 4))

    assert len(raw) == 3
    assert longer[:3] == raw
    assert not set(raw) & set(blocks(long("s", 3)))


def test_only_whole_blocks_count_and_of_a_very_long_prompt_the_beginning():
    assert blocks("short") == ()
    assert len(blocks(long("s", MOST_BLOCKS + 50))) == MOST_BLOCKS


def test_half_a_character_in_a_prompt_is_hashed_like_any_other():
    assert len(blocks("\ud800" * BLOCK_CHARS)) == 1


def test_a_node_that_has_read_the_beginning_is_preferred_by_what_it_saves():
    prefix = blocks(long("s", 4))
    mesh = scheduler(
        node("far", prompt_tokens_per_s=50, context_tokens=4096),
        node("fresh", prompt_tokens_per_s=60, context_tokens=4096),
    )
    wish = Wish(model="m", prompt_tokens=4 * BLOCK_TOKENS, prefix=prefix)
    assert mesh.place(wish, now_s=1).node == "fresh"

    mesh.take("far", "m", KEY, wish, now_s=1)
    mesh.release("far", "m", KEY, now_s=2)
    placement = mesh.place(wish, now_s=2)

    assert placement.node == "far"
    assert {part.name: part.value for part in placement.candidates[0].parts}["cached"] == 4 * BLOCK_TOKENS / 50

    mesh.observe(node("far", prompt_tokens_per_s=50, context_tokens=4096, process="2"))
    assert mesh.place(wish, now_s=2).node == "fresh"


def test_a_node_is_remembered_for_what_its_engine_can_keep_the_latest_and_the_beginnings():
    memory = PrefixMemory()
    old, new = blocks(long("o", 3)), blocks(long("n", 3))
    memory.note(("n1", "m"), old, capacity_tokens=4 * BLOCK_TOKENS)
    memory.note(("n1", "m"), new, capacity_tokens=4 * BLOCK_TOKENS)

    assert memory.tokens_read(new) == {("n1", "m"): 3 * BLOCK_TOKENS}
    assert memory.tokens_read(old) == {("n1", "m"): BLOCK_TOKENS}


def test_the_memory_is_bounded_and_forgets_the_node_that_was_used_least_lately():
    memory = PrefixMemory(most_blocks=5)
    for name in ("n1", "n2"):
        memory.note((name, "m"), blocks(long(name[-1], 3)), capacity_tokens=10**6)

    assert len(memory) == 3
    assert memory.tokens_read(blocks(long("1", 3))) == {}
    assert memory.tokens_read(blocks(long("2", 3))) == {("n2", "m"): 3 * BLOCK_TOKENS}


@given(
    st.lists(st.tuples(st.sampled_from(["n1", "n2", "n3"]), st.text("ab", min_size=1, max_size=6)), max_size=40),
    st.integers(1, 8),
    st.text("ab", min_size=1, max_size=6),
)
def test_whatever_is_noted_no_node_is_said_to_have_read_what_it_was_not_given(
    noted: list[tuple[str, str]], capacity: int, asked: str
):
    memory = PrefixMemory(most_blocks=30)
    given_to: dict[tuple[str, str], set[bytes]] = {}
    for name, letters in noted:
        prefix = blocks("".join(long(letter) for letter in letters))
        memory.note((name, "m"), prefix, capacity_tokens=capacity * BLOCK_TOKENS)
        given_to.setdefault((name, "m"), set()).update(prefix)

    wanted = blocks("".join(long(letter) for letter in asked))
    for place, tokens in memory.tokens_read(wanted).items():
        assert set(wanted[: tokens // BLOCK_TOKENS]) <= given_to[place]
    assert len(memory) <= 30
