"""The scenarios there are. Each was committed before it was run, and nothing was tuned; a changed one is a new name."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from gateway.simulation.scenario import Bursts, Churn, Demand, NodeKind, Scenario

PHONE: Final = NodeKind(
    name="phone",
    share=0.3,
    slots=1,
    tokens_per_s=(5, 12),
    reads_faster=8,
    context_tokens=8192,
    cache_tokens=4096,
    rtt_s=(0.03, 0.12),
    fails=0.01,
)
LAPTOP: Final = NodeKind(
    name="laptop",
    share=0.4,
    slots=2,
    tokens_per_s=(12, 30),
    reads_faster=12,
    context_tokens=8192,
    cache_tokens=16_384,
    rtt_s=(0.005, 0.06),
)
DESKTOP: Final = NodeKind(
    name="desktop",
    share=0.3,
    slots=4,
    tokens_per_s=(35, 90),
    reads_faster=20,
    context_tokens=16_384,
    cache_tokens=65_536,
    rtt_s=(0.002, 0.04),
)
CLOUD: Final = NodeKind(
    name="cloud",
    share=0.01,
    slots=32,
    tokens_per_s=(60, 100),
    reads_faster=60,
    context_tokens=131_072,
    cache_tokens=1_048_576,
    rtt_s=(0.05, 0.2),
    crowding=0.02,
    honesty=(0.8, 1.0),
    fails=0.001,
    tier="cloud",
    prompt_micro=150_000,
    completion_micro=600_000,
)

EDGE: Final = (PHONE, LAPTOP, DESKTOP)

HOME: Final = Scenario(
    name="home",
    about="10 devices, conversations of 3 to 8 turns under two system prompts",
    seed=101,
    nodes=10,
    mix=EDGE,
    demand=Demand(
        conversations=120,
        per_s=0.06,
        turns=(3, 8),
        question_chars=(40, 600),
        answer_tokens=(40, 240),
        think_s=15,
        system_prompts=2,
        system_chars=2000,
    ),
)
OFFICE: Final = Scenario(
    name="office",
    about="100 devices, bursts of conversations under ten long system prompts",
    seed=102,
    nodes=100,
    mix=EDGE,
    demand=Demand(
        conversations=600,
        per_s=0.4,
        turns=(3, 8),
        question_chars=(40, 600),
        answer_tokens=(40, 240),
        think_s=20,
        system_prompts=10,
        system_chars=8000,
        bursts=Bursts(factor=4, on_s=20, off_s=80),
    ),
)
DOCUMENTS: Final = Scenario(
    name="documents",
    about="30 devices, each conversation of 4 to 8 turns about a long text of its own",
    seed=103,
    nodes=30,
    mix=EDGE,
    demand=Demand(
        conversations=200,
        per_s=0.08,
        turns=(4, 8),
        question_chars=(40, 300),
        answer_tokens=(40, 160),
        think_s=20,
        document_chars=(8000, 20_000),
    ),
)
ONE_OFF: Final = Scenario(
    name="one-off",
    about="100 devices, single questions that share nothing",
    seed=104,
    nodes=100,
    mix=EDGE,
    demand=Demand(
        conversations=3000,
        per_s=4,
        turns=(1, 1),
        question_chars=(200, 2000),
        answer_tokens=(40, 240),
        think_s=0,
    ),
)
TOWN: Final = Scenario(
    name="town",
    about="1,000 devices that come and go, bursts of conversations, one provider in a hundred outside",
    seed=105,
    nodes=1000,
    mix=(*EDGE, CLOUD),
    demand=Demand(
        conversations=1500,
        per_s=5,
        turns=(2, 6),
        question_chars=(40, 800),
        answer_tokens=(40, 240),
        think_s=15,
        system_prompts=40,
        system_chars=4000,
        accounts=100,
        bursts=Bursts(factor=4, on_s=15, off_s=60),
    ),
    churn=Churn(up_s=600, down_s=90),
)
REGION: Final = Scenario(
    name="region",
    about="10,000 devices that come and go, many conversations at once",
    seed=106,
    nodes=10_000,
    mix=(*EDGE, CLOUD),
    demand=Demand(
        conversations=4000,
        per_s=60,
        turns=(2, 6),
        question_chars=(40, 800),
        answer_tokens=(40, 240),
        think_s=15,
        system_prompts=200,
        system_chars=4000,
        accounts=500,
    ),
    churn=Churn(up_s=1800, down_s=120),
)

ALIKE: Final = Scenario(
    name="alike",
    about="40 laptops of one speed, conversations under four system prompts: nothing to know but what was read where",
    seed=107,
    nodes=40,
    mix=(replace(LAPTOP, tokens_per_s=(20, 20), honesty=(1, 1), rtt_s=(0.01, 0.01)),),
    demand=Demand(
        conversations=300,
        per_s=0.2,
        turns=(3, 8),
        question_chars=(40, 600),
        answer_tokens=(40, 240),
        think_s=20,
        system_prompts=4,
        system_chars=4000,
    ),
)
RUSH: Final = Scenario(
    name="rush",
    about="20 devices, asked for more than they can do: all slots busy, and a queue",
    seed=108,
    nodes=20,
    mix=EDGE,
    demand=Demand(
        conversations=400,
        per_s=1.5,
        turns=(2, 5),
        question_chars=(40, 600),
        answer_tokens=(80, 300),
        think_s=5,
        system_prompts=4,
        system_chars=4000,
    ),
)
HICCUPS: Final = Scenario(
    name="hiccups",
    about="100 devices of which each stands still before one answer in thirty, for 2 to 20 s; conversations",
    seed=109,
    nodes=100,
    mix=tuple(replace(kind, stalls=1 / 30, stalls_s=(2, 20)) for kind in EDGE),
    demand=Demand(
        conversations=900,
        per_s=1,
        turns=(2, 5),
        question_chars=(40, 600),
        answer_tokens=(40, 240),
        think_s=15,
        system_prompts=10,
        system_chars=2000,
    ),
)

_ALL: Final = (HOME, OFFICE, DOCUMENTS, ONE_OFF, TOWN, REGION, ALIKE, RUSH, HICCUPS)
SCENARIOS: Final = {each.name: each for each in _ALL}
