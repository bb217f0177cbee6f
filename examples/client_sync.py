"""The mesh's Python client without async, in a script.

Run it as `python examples/client_sync.py [MODEL]`.
"""

import sys

import mesh

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"

with mesh.connect_sync() as client:
    answer = client.submit(model, "Why is the sky blue?", max_tokens=40)
    for piece in answer:
        print(piece.text, end="", flush=True)
    print(f"\n[{answer.result().finish_reason}]")
