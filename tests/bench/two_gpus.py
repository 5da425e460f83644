"""One GPU against two of one host: DDP's scaling, losses of one process and of two, memory with DDP and with FSDP.

Full finetuning of Stable Diffusion 1.5 with random weights, 512 px latents, as `trainer train` does a step: AdamW,
gradients clipped, in bfloat16; through the compiled, recorded copy, and plainly under autocast. Each GPU has as many
images alone as beside the other: twice the images a second would be a scaling of 2. Losses are compared in float32 with
deterministic kernels. `AMATL_BENCH_TOY=1` runs it all on the CPU with two processes over gloo and a toy model, to see
that it works, `AMATL_BENCH_ONLY=fsdp,losses` measures parts. A part that fails is told on stderr and costs the others
nothing; processes that take too long say where they stand.
"""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.table import Row

if TYPE_CHECKING:
    from trainer_client.data.batches import Batch
    from trainer_client.distributed.processes import Processes
    from trainer_client.models import Family

TOY = os.environ.get("AMATL_BENCH_TOY") == "1"
MODEL, EACH, FAST_EACH, STEPS, WARM_UP = ("toy", 2, 2, 2, 1) if TOY else ("sd15", 16, 64, 10, 4)
LOSSES_OF, LOSS_STEPS = 4, 5  # Images a step in all, and steps, where losses are compared.
LIMIT_SECONDS, SHORT_LIMIT_SECONDS = 300, 120  # With compiling and without.
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}
GIB = 1 << 30
Found = dict[str, Any]


def bench() -> list[Row]:
    _refuse_one_gpu()
    rows: list[Row] = []
    only = [name for name in os.environ.get("AMATL_BENCH_ONLY", "").split(",") if name]
    for part in (fast, plain, fsdp, losses):
        try:
            rows += part() if not only or part.__name__ in only else []
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{part.__name__}: {error}", file=sys.stderr)
    return rows


def fast() -> list[Row]:
    """Compiled and recorded, where the run is long enough to earn it back."""
    one, two = started(1, "fast"), started(2, "fast")
    compiling = f"compiled in {one['compiling']:.0f} s, then from what was kept in {two['compiling']:.0f} s"
    row = _scaling(f"{MODEL} full, compiled, 2 processes", "1 process", one, two, FAST_EACH)
    return [replace(row, detail=f"{row.detail}; {compiling}")]


def plain() -> list[Row]:
    """DDP under autocast."""
    return [
        _scaling(f"{MODEL} full, plain, DDP, 2 processes", "1 process", *(started(n, "plain") for n in (1, 2)), EACH)
    ]


def fsdp() -> list[Row]:
    """Weights, gradients and moments spread over both GPUs."""
    whole, spread = started(2, "plain"), started(2, "plain", FSDP)
    return [_scaling(f"{MODEL} full, plain, FSDP, 2 processes", "DDP", whole, spread, EACH)]


def losses() -> list[Row]:
    """Of one process and of two, as far apart as they ever are."""
    kinds: list[tuple[str, str, dict[str, str]]] = [("DDP", "losses", {}), ("FSDP", "losses", FSDP)]
    kinds += [("compiled", "fast-losses", {})]
    one = started(1, "losses")["losses"]
    apart = [f"{name} {max(map(_relative, one, started(2, what, more)['losses'])):.1e}" for name, what, more in kinds]
    return [Row("losses, float32", "1 process", 1.0, f"{', '.join(apart)} apart, relative")]


def _scaling(name: str, against: str, one: Found, two: Found, each: int) -> Row:
    rates = [found["images_per_second"] for found in (two, one)]
    memory = " against ".join(f"{found['peak_bytes'] / GIB:.1f}" for found in (two, one))
    detail = f"{rates[0]:.1f} against {rates[1]:.1f} images/s, {each} images a GPU, peak {memory} GiB, {one['device']}"
    return Row(name, against, rates[0] / rates[1], detail)


def _refuse_one_gpu() -> None:
    import torch

    if not TOY and torch.cuda.device_count() < 2:
        sys.exit(f"two_gpus: needs two GPUs, here {torch.cuda.device_count()}. AMATL_BENCH_TOY=1 tries it on the CPU.")


def _relative(one: float, other: float) -> float:
    return abs(other / one - 1)


def started(processes: int, what: str, more: dict[str, str] | None = None) -> Found:
    """What the first of several processes found."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} | (more or {})
        environment.setdefault("OMP_NUM_THREADS", "1")
        command = [sys.executable, *start, "-m", "tests.bench.two_gpus", what, str(result)]
        done = subprocess.run(
            command, env=environment, timeout=limit_s(what) + 20, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{processes} processes, {what}: {done.stderr[-3000:]}")
        found: Found = json.loads(result.read_bytes())
    print(f"  {processes} process(es), {what}{', FSDP' if more else ''}: {found}", file=sys.stderr)
    return found


def limit_s(what: str) -> int:
    """How long a process may take."""
    return LIMIT_SECONDS if what.startswith("fast") else SHORT_LIMIT_SECONDS


# In each of the processes


def process(what: str, result: Path) -> None:
    """Trains as asked; the first process writes what it found."""
    import torch

    import trainer_client.performance.torch_compile
    from tests.bench.architectures import build
    from trainer_client.config import TrainConfig
    from trainer_client.distributed.processes import Processes

    faulthandler.dump_traceback_later(limit_s(what), exit=True)
    exact, compiled = what.endswith("losses"), what.startswith("fast")
    count = int(os.environ["WORLD_SIZE"])
    images = LOSSES_OF if exact else (FAST_EACH if compiled else EACH) * count
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig.of(
            snapshot=Path(folder),
            base="random",
            captions="text",
            out=Path(folder) / "run",
            batch_size=images,
            learning_rate=1e-6,
            device="cpu" if TOY else "auto",
            bf16_copy="auto" if compiled else "off",
        )
        processes = Processes(config)
        device = torch.device("cpu" if TOY else processes.device("cuda"))
        if exact:
            torch.backends.cudnn.allow_tf32 = False
            torch.use_deterministic_algorithms(True, warn_only=True)
        else:
            torch.backends.cudnn.benchmark = True
        family = build(MODEL, Path(folder), device, torch.float32 if exact or TOY else torch.bfloat16)
        if compiled and TOY:
            trainer_client.performance.torch_compile.BACKEND = "aot_eager"
        found = trained(family, config, processes, images, exact, compiled)
    if processes.is_rank_zero:
        result.write_text(json.dumps(found))
    processes.wait()
    if count > 1:
        torch.distributed.destroy_process_group()


def trained(
    family: Family, config: Any, processes: Processes, images: int, exact: bool, compiled: bool
) -> dict[str, Any]:
    """Steps on the same images: losses of each, or images a second and the memory of this process's GPU."""
    import torch

    from schemas.progress import silent
    from trainer_client.data.batches import TrainingSet
    from trainer_client.data.latents import TextEmbeddings
    from trainer_client.data.plan import Plan
    from trainer_client.device import synchronise
    from trainer_client.methods import begin
    from trainer_client.train.train_step import Learner

    learner = Learner(begin(family, config), config, Plan(images, images, 1), processes, compiled)
    with torch.no_grad():
        text = TextEmbeddings({"": 0}, family.encode_text(family.tokenise([""])))
    no_latents: Any = None
    data = TrainingSet(["0"] * images, no_latents, torch.zeros(images, dtype=torch.int64, device=family.device), text)
    drawn = random_step(family, images)
    began = time.perf_counter()
    learner.compile(data, drawn, silent)
    synchronise(family.device)
    compiling = time.perf_counter() - began
    if exact:
        return {"losses": [float(learner.learn(data, drawn)) / images for _ in range(LOSS_STEPS)]}
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            synchronise(family.device)
            processes.wait()
            began = time.perf_counter()
        learner.learn(data, drawn)
        processes.any(False)  # As after each of a run's steps.
    synchronise(family.device)
    rate = STEPS * images / (time.perf_counter() - began)
    on_gpu = family.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else 0
    name = torch.cuda.get_device_name() if on_gpu else "the CPU"
    return {"images_per_second": rate, "peak_bytes": peak, "device": name, "compiling": compiling}


def random_step(family: Family, images: int) -> Batch:
    """The same random images in every process, ready for the denoiser."""
    import torch

    from trainer_client.data.batches import Batch

    chance = torch.Generator().manual_seed(1)
    noisy, target = (torch.randn(images, *family.latent_shape, generator=chance) for _ in range(2))
    timesteps = torch.randint(family.train_timesteps, (images,), generator=chance)
    return Batch(
        noisy.to(family.device),
        target.to(family.device),
        timesteps.to(family.device),
        torch.ones(images, device=family.device),
        torch.zeros(images, dtype=torch.int64, device=family.device),
        torch.zeros(images, 6, device=family.device),
    )


if __name__ == "__main__":
    process(sys.argv[1], Path(sys.argv[2]))
