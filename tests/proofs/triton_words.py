"""A model for the tritonserver that nvidia-pytriton carries: words as tokens, streamed.

.venvs/triton/bin/python tests/proofs/triton_words.py PORT
"""

import sys
import time

import numpy as np
from pytriton.model_config import ModelConfig, Tensor  # pyright: ignore[reportMissingImports]  lies in .venvs/triton
from pytriton.triton import Triton, TritonConfig  # pyright: ignore[reportMissingImports]

WORDS = ("lorem", "ipsum", "dolor", "sit", "amet", "tempor", "magna", "aliqua", "enim", "minim", "veniam", "quis")


def generate(requests):
    """One word a step, behind what the prompt's answer has already."""
    (request,) = requests
    prompt = request["text_input"].flatten()[0].decode()
    begun = prompt.rpartition("assistant\n")[2]
    at, cut = begun.count(" "), begun.rpartition(" ")[2]
    for number in range(int(request["max_tokens"].flatten()[0])):
        word = f"{WORDS[(at + number) % len(WORDS)]} "
        text = word.removeprefix(cut) if number == 0 else word
        yield [{"text_output": np.array([text.encode()], dtype=np.bytes_)}]
        time.sleep(0.01)


port = int(sys.argv[1])
with Triton(config=TritonConfig(http_port=port, grpc_port=port + 1, metrics_port=port + 2)) as triton:
    triton.bind(
        model_name="words",
        infer_func=generate,
        inputs=[
            Tensor(name="text_input", dtype=bytes, shape=(1,)),
            Tensor(name="max_tokens", dtype=np.int32, shape=(1,)),
        ],
        outputs=[Tensor(name="text_output", dtype=bytes, shape=(1,))],
        config=ModelConfig(batching=False, decoupled=True),
    )
    triton.serve()
