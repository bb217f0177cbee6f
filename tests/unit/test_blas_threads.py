"""How many threads numpy computes with is decided while it is loaded, and for nobody else."""

import os
import subprocess
import sys

ASK = """
import ctypes, glob, os, pathlib
from nodes.engines.embedding.blas_threads import blas_threads
with blas_threads(1):
    import numpy
assert "OPENBLAS_NUM_THREADS" not in os.environ
found = glob.glob(str(pathlib.Path(numpy.__file__).parents[1] / "numpy.libs" / "*openblas*"))
print(ctypes.CDLL(found[0]).scipy_openblas_get_num_threads64_() if found else 1)
"""


def threads(**environment: str) -> int:
    others = {name: text for name, text in os.environ.items() if not name.endswith("_NUM_THREADS")}
    asked = subprocess.run(
        [sys.executable, "-c", ASK], env={**others, **environment}, check=True, capture_output=True, text=True
    )
    return int(asked.stdout)


def test_numpy_takes_as_many_threads_as_it_is_told() -> None:
    assert threads() == 1
