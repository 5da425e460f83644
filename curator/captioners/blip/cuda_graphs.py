"""Work recorded once as a CUDA graph and replayed: one launch for hundreds of small kernels.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch

Work = Callable[[], None]
WARM_UPS = 2  # Libraries choose their algorithms and take their workspaces outside the recording.


def record(works: Sequence[Work], stream: torch.cuda.Stream) -> list[Work]:
    """Replays of the works, to be called in their order and on `stream`, where they are recorded too.

    They share a memory pool, so no two of them may run at the same time, and a tensor that one makes and another uses
    must have been made outside. Where recording fails the works come back as they are, with a warning: the captions
    are the same, only slower. Raises torch.OutOfMemoryError.
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
            # thread_local: the threads that prepare pictures may do what they like meanwhile.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                work()
            pool = graph.pool()
            replays.append(graph.replay)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(f"BLIP runs without CUDA graphs, and so slower: {reason}", RuntimeWarning, stacklevel=2)
        stream.synchronize()
        return list(works)
    stream.synchronize()
    return replays
