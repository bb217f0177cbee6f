"""The engines under test, and the servers that some of them ask."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nodes.engine import DEFAULT_MODEL, Engine, EngineSpec, Loading, RemoteSpec, VllmSpec
from nodes.engines import open_engine
from tests.llama_http import LlamaHttpServer
from tests.played_triton import PlayedTriton
from tests.played_triton_grpc import PlayedGrpcTriton
from tests.stand_in_vllm import installed_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from streams.devices.replica import Ability, Replica


@dataclass(frozen=True)
class Case:
    """One engine under test."""

    spec: EngineSpec
    model: str
    has_model: bool = True
    is_here: bool = True
    """Whether the model is in this process; else a server has it."""
    turn_tokens: int = 50
    """How long an answer is where words stand for a model."""
    waits: bool = True
    """Whether a request above the slots has to wait for one."""
    abilities: frozenset[Ability] = frozenset()
    """What it announces beyond plain text."""
    over: str = ""
    """By what protocol, where there are several."""

    def __str__(self) -> str:
        """What a test of it is called."""
        return f"{self.spec.engine}{self.over and f'-{self.over}'}"


OURS: frozenset[Ability] = frozenset({"tools", "schema", "logprobs", "logit_bias", "raw_prompt"})
"""What grammars of our own give any model."""
ALL: frozenset[Ability] = frozenset({*OURS, "vision"})
SHOWN: frozenset[Ability] = frozenset({"schema", "logprobs", "logit_bias"})
"""What the small model shows when a server that has it is tried: it calls nothing of its own choice."""
RAW: frozenset[Ability] = frozenset({"raw_prompt"})
TURN = 12
"""Words of an answer that a played server ends by itself."""

CASES = [
    Case(
        EngineSpec(engine="synthetic", context_tokens=512, token_delay_ms=2),
        "synthetic",
        has_model=False,
        waits=False,
        abilities=ALL,
    ),
    Case(EngineSpec(engine="xllamacpp", context_tokens=512, slots=2), DEFAULT_MODEL, abilities=OURS),
    Case(EngineSpec(engine="llama-cpp-python", context_tokens=512), DEFAULT_MODEL, abilities=OURS),
    Case(EngineSpec(engine="openai"), DEFAULT_MODEL, is_here=False, abilities=SHOWN | RAW),
    Case(EngineSpec(engine="litellm"), DEFAULT_MODEL, is_here=False, abilities=SHOWN),
    # Against played servers: the real ones take GPUs or minutes, and were tried by hand (docs/proofs).
    Case(
        EngineSpec(engine="vllm", context_tokens=512, slots=2),
        "words-1b",
        has_model=False,
        is_here=False,
        turn_tokens=TURN,
        abilities=RAW,
    ),
    Case(
        EngineSpec(engine="triton", context_tokens=512, slots=2),
        "words",
        has_model=False,
        is_here=False,
        turn_tokens=TURN,
        abilities=RAW,
    ),
]
CASES.append(replaced(CASES[-1], over="grpc"))
ANNOUNCING: dict[Ability, list[Case]] = {
    ability: [case for case in CASES if ability in case.abilities] for ability in sorted(OURS)
}
WITH_MODEL = [case for case in CASES if case.has_model]
WITH_FILE = [case for case in WITH_MODEL if case.is_here]
ASKING: dict[Case, EngineSpec] = {}
"""What the engines that ask a server need for that."""


@dataclass(frozen=True)
class Started:
    case: Case
    engine: Engine
    replica: Replica
    loading: list[Loading]


@asynccontextmanager
async def servers_running(folder: Path) -> AsyncIterator[None]:
    """What the engines ask that ask a server: llama.cpp's, a program in the place of vLLM, a played Triton."""
    folder /= "Words-1B"
    folder.mkdir()
    (folder / "config.json").write_text('{"max_position_embeddings": 512, "dtype": "bfloat16"}')
    vllm = VllmSpec(program=installed_in(folder))
    triton = PlayedTriton(token_delay_s=0.005, context_tokens=512)
    triton_grpc = PlayedGrpcTriton(token_delay_s=0.005, context_tokens=512)
    with LlamaHttpServer() as llama:
        async with triton.running(), triton_grpc.running():
            for case in CASES:
                match case.spec.engine:
                    case "vllm":
                        spec = replace(case.spec, model=str(folder), vllm=vllm)
                    case "triton":
                        url = triton_grpc.url if case.over else triton.url
                        spec = replace(case.spec, remote=RemoteSpec(url=url))
                    case _:
                        spec = case.spec if case.is_here else llama.asked_by(case.spec)
                ASKING[case] = spec
            yield
    ASKING.clear()


async def start(case: Case) -> Started:
    loading: list[Loading] = []
    engine = open_engine(ASKING[case], loading.append)
    return Started(case, engine, await engine.start(), loading)
