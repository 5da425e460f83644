"""One GPU against two of one host: DDP's scaling, losses of one process and of two, memory with DDP and with FSDP.

Full finetuning of Stable Diffusion 1.5 with random weights, 512 px latents, as `trainer train` does a step: bfloat16
autocast, AdamW, gradients clipped. Each GPU has as many images alone as beside the other: twice the images a second
would be a scaling of 2. Losses are compared in float32 with deterministic kernels. `AMATL_BENCH_TOY=1` runs it all on
the CPU with two processes over gloo and a toy model, to see that it works.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.table import Row

if TYPE_CHECKING:
    from trainer_client.draws import Drawn
    from trainer_client.families import Family
    from trainer_client.processes import Processes

TOY = os.environ.get("AMATL_BENCH_TOY") == "1"
MODEL, EACH, STEPS, WARM_UP, ROUNDS = ("toy", 2, 2, 1, 1) if TOY else ("sd15", 16, 10, 4, 2)
LOSSES_OF, LOSS_STEPS = 4, 5  # Images a step in all, and steps, where losses are compared.
LIMIT_SECONDS = 240
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}
GIB = 1 << 30


def bench() -> list[Row]:
    _refuse_one_gpu()
    alone: list[dict[str, Any]] = []
    both: list[dict[str, Any]] = []
    for _ in range(ROUNDS):  # In turn, so that a busy machine slows both.
        alone.append(started(1, "speed"))
        both.append(started(2, "speed"))
    sharded = started(2, "speed", FSDP)
    one, two = (max(found["images_per_second"] for found in runs) for runs in (alone, both))
    losses = [started(count, "losses", more)["losses"] for count, more in ((1, {}), (2, {}), (2, FSDP))]
    apart, apart_sharded = (max(map(_relative, losses[0], other)) for other in losses[1:])
    where = alone[0]["device"]
    memory = [found["peak_bytes"] / GIB for found in (alone[0], both[0], sharded)]
    speed = f"{two:.1f} against {one:.1f} images/s, {EACH} images a GPU, on {where}"
    return [
        Row(f"DDP, {MODEL} full, 2 processes", "1 process", two / one, speed),
        Row(
            f"FSDP, {MODEL} full, 2 processes",
            "1 process",
            sharded["images_per_second"] / one,
            f"{sharded['images_per_second']:.1f} images/s",
        ),
        Row(
            "FSDP, memory of a GPU",
            "DDP",
            memory[2] / memory[1] if memory[1] else 1.0,
            f"peak {memory[2]:.1f} against {memory[1]:.1f} GiB (1 process: {memory[0]:.1f})",
        ),
        Row("losses, float32", "1 process", 1.0, f"DDP {apart:.1e} apart, FSDP {apart_sharded:.1e}, relative"),
    ]


def _refuse_one_gpu() -> None:
    import torch

    if not TOY and torch.cuda.device_count() < 2:
        sys.exit(f"two_gpus: needs two GPUs, here {torch.cuda.device_count()}. AMATL_BENCH_TOY=1 tries it on the CPU.")


def _relative(one: float, other: float) -> float:
    return abs(other / one - 1)


def started(processes: int, what: str, more: dict[str, str] | None = None) -> dict[str, Any]:
    """What the first of several processes found."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} | (more or {})
        environment.setdefault("OMP_NUM_THREADS", "1")
        command = [sys.executable, *start, "-m", "tests.bench.two_gpus", what, str(result)]
        done = subprocess.run(
            command, env=environment, timeout=LIMIT_SECONDS, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{processes} processes, {what}: {done.stderr[-3000:]}")
        found: dict[str, Any] = json.loads(result.read_bytes())
    print(f"  {processes} process(es), {what}{', FSDP' if more else ''}: {found}", file=sys.stderr)
    return found


# In each of the processes


def process(what: str, result: Path) -> None:
    """Trains as asked; the first process writes what it found."""
    import torch

    from tests.bench.architectures import build
    from trainer_client.config import TrainConfig
    from trainer_client.processes import Processes

    exact = what == "losses"
    count = int(os.environ["WORLD_SIZE"])
    images = LOSSES_OF if exact else EACH * count
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            snapshot=Path(folder),
            base="random",
            captions="text",
            out=Path(folder) / "run",
            batch_size=images,
            learning_rate=1e-6,
            device="cpu" if TOY else "auto",
        )
        processes = Processes(config)
        device = torch.device("cpu" if TOY else processes.device("cuda"))
        if exact:
            torch.backends.cudnn.allow_tf32 = False
            torch.use_deterministic_algorithms(True, warn_only=True)
        else:
            torch.backends.cudnn.benchmark = True
        family = build(MODEL, Path(folder), device, torch.float32 if exact or TOY else torch.bfloat16)
        found = trained(family, config, processes, images, exact)
    if processes.first:
        result.write_text(json.dumps(found))
    processes.wait()
    if count > 1:
        torch.distributed.destroy_process_group()


def trained(family: Family, config: Any, processes: Processes, images: int, exact: bool) -> dict[str, Any]:
    """Steps on the same images: losses of each, or images a second and the memory of this process's GPU."""
    import torch

    from trainer_client.cache import TextEmbeddings
    from trainer_client.device import synchronise
    from trainer_client.draws import TrainingSet
    from trainer_client.learner import Learner
    from trainer_client.methods import begin
    from trainer_client.schedule import Plan

    learner = Learner(begin(family, config), config, Plan(images, images, 1), processes)
    with torch.no_grad():
        text = TextEmbeddings({"": 0}, family.encode_text(family.tokenise([""])))
    no_latents: Any = None
    data = TrainingSet(["0"] * images, no_latents, torch.zeros(images, dtype=torch.int64, device=family.device), text)
    drawn = random_step(family, images)
    if exact:
        return {"losses": [float(learner.learn(data, drawn)) / images for _ in range(LOSS_STEPS)]}
    began = 0.0
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
    return {"images_per_second": rate, "peak_bytes": peak, "device": name}


def random_step(family: Family, images: int) -> Drawn:
    """The same random images in every process, ready for the denoiser."""
    import torch

    from trainer_client.draws import Drawn

    chance = torch.Generator().manual_seed(1)
    noisy, target = (torch.randn(images, *family.latent_shape, generator=chance) for _ in range(2))
    timesteps = torch.randint(family.train_timesteps, (images,), generator=chance)
    return Drawn(
        noisy.to(family.device),
        target.to(family.device),
        timesteps.to(family.device),
        torch.ones(images, device=family.device),
        torch.zeros(images, dtype=torch.int64, device=family.device),
        torch.zeros(images, 6, device=family.device),
    )


if __name__ == "__main__":
    process(sys.argv[1], Path(sys.argv[2]))
