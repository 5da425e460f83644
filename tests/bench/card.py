"""One device and its measurements: rates, memory, the share of its peak; a part that fails costs the others nothing."""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tests.bench.table import Row

TIME_S = 560.0  # After so long no further variant is begun: a GPU is dear.
SD15_TFLOP, SDXL_TFLOP = 2.41, 3 * 5.98  # An image's forward and backward pass, attention counted.
ENCODER_TFLOP = 1.08  # A picture of 512 px through the encoder.


@dataclass(frozen=True)
class Scale:
    """How large it is; `TOY` shows on a CPU that it works."""

    sd15: str = "sd15"
    sdxl: str = "sdxl"
    mini: str = "mini"
    example_batch: int = 32
    batch: int = 64
    xl_batch: int = 8
    steps: int = 8
    curve_steps: int = 200
    set_images: int = 2048
    files: int = 512
    encoded: int = 4096
    file_px: int = 1024
    pictures: tuple[int, int] = (4, 8)
    peak: int = 8192


TOY = Scale("toy", "toy", "toy", 2, 4, 2, 2, 4, 130, 4, 9, 64, (1, 3), 64)


class Card:
    """A device, and the measurements made on it: each is added to `found` and printed as it is made."""

    def __init__(self, scale: Scale, device: torch.device, only: str = os.environ.get("AMATL_BENCH_ONLY", "")) -> None:
        self.scale, self.device, self.dtype = scale, device, torch.bfloat16
        self.only = [name for name in only.split(",") if name]
        self.found: list[Row] = []
        self.began = time.perf_counter()
        self.rates: dict[str, float] = {}
        self.peak_tflops = 0.0

    def attempt(self, name: str, work: Callable[[], None]) -> None:
        """One failure, or a machine that is slow, must not cost the other figures."""
        if time.perf_counter() - self.began > TIME_S:
            self.say(f"no time for {name}")
            return
        try:
            work()
        except Exception:
            self.say(f"{name} failed")
            traceback.print_exc()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self.began:5.0f} s] {text}", file=sys.stderr, flush=True)

    def add(self, name: str, rate: float, detail: str, baseline: str = "") -> None:
        """A rate in images/s, against the rate of that name."""
        self.rates[name] = rate
        ratio = rate / self.rates[baseline] if baseline in self.rates else 1.0
        self.found.append(Row(name, baseline or "itself", ratio, f"{rate:,.4g} images/s; {detail}"))
        self.say(f"{name}: {rate:,.4g} images/s; {detail} ({ratio:.2f} times {baseline or 'itself'})")

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> float:
        self.synchronise()
        began = time.perf_counter()
        work()
        self.synchronise()
        return time.perf_counter() - began

    def watch_memory(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def memory(self) -> str:
        return f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most" if self.device.type == "cuda" else "no GPU"

    def share(self, rate: float, tflop: float) -> str:
        return f"{rate * tflop / self.peak_tflops:.2f} of peak" if self.peak_tflops else "peak unknown"

    def peak(self) -> None:
        side = self.scale.peak
        left = torch.randn(side, side, device=self.device, dtype=self.dtype)
        taken = min(self.seconds(lambda: left @ left) for _ in range(5))
        self.peak_tflops = 2 * side**3 / taken / 1e12
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else "CPU"
        self.say(f"{name}, torch {torch.__version__}: {self.peak_tflops:.0f} TFLOP/s in a product of {side} cubed")
