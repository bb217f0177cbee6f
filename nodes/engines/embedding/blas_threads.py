"""How many threads numpy multiplies matrices with: its OpenBLAS asks the environment once, when it is loaded.

By itself it takes every core, and where others want those too its threads wait for each other by spinning: measured on
two busy cores, twelve times the CPU time and twelve times as slow as one thread (docs/benchmarks.md).
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

_VARIABLES: Final = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def blas_threads(count: int) -> Generator[None]:
    """Load numpy inside, and it computes with ``count`` threads, unless the operator's environment says otherwise.

    Of no effect where numpy is loaded already. The variables are gone again afterwards: processes that are started
    later have their own numpy.
    """
    new = () if "numpy" in sys.modules else [name for name in _VARIABLES if name not in os.environ]
    os.environ.update(dict.fromkeys(new, str(count)))
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
