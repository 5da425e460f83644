"""Record work as a CUDA graph and replay it: one launch for hundreds of small kernels.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch

Work = Callable[[], None]
WARM_UPS = 2  # so that libraries choose algorithms and allocate workspaces before the recording


def record(works: Sequence[Work], stream: torch.cuda.Stream) -> list[Work]:
    """Record the works on `stream` and return their replays, to be called in order on that stream.

    They share a memory pool: no two may run at once, and tensors that they exchange must be allocated outside. If
    recording fails, warn and return the works themselves, which are only slower. Raises torch.OutOfMemoryError.
    """
    pool = None
    replays: list[Work] = []
    try:
        with torch.cuda.stream(stream):
            for work in works:
                for _ in range(WARM_UPS):
                    work()
        stream.synchronize()
        for work in works:
            graph = torch.cuda.CUDAGraph()
            # thread_local: the threads that preprocess images may call CUDA meanwhile.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                work()
            pool = graph.pool()
            replays.append(graph.replay)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(f"BLIP runs slower, without CUDA graphs: {reason}", RuntimeWarning, stacklevel=2)
        stream.synchronize()
        return list(works)
    stream.synchronize()
    return replays
