"""What pictures are drawn through: the same pictures, one copy for checkpoints in turn, compiled when that pays."""

from __future__ import annotations

import copy
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer_client.models import Family, load_family
from trainer_client.performance import torch_compile
from trainer_client.sample import draw_tiles, engine
from trainer_client.sample.engine import Drawing

ASKED = (["a fox", "a wolf", "a red car"], [1, 2])


@pytest.fixture
def families(base: Path) -> list[Family]:
    """The base, and what a checkpoint might be: other weights."""
    first, second = load_family(str(base)), load_family(str(base))
    with torch.no_grad():
        for weight in second.denoiser.parameters():
            weight.mul_(1.02)
    return [first, second]


def tiles(family: Family, **settings: Any) -> torch.Tensor:
    return draw_tiles(family, *ASKED, steps=2, batch_size=4, **settings).int()


@pytest.fixture
def by_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are not compiled; everything else is as if."""
    monkeypatch.setattr(torch_compile.Blocks, "__init__", lambda self, module, *_: setattr(self, "modules", [module]))
    monkeypatch.setattr(torch_compile._Watch, "__enter__", lambda self: self.progress("compiling", 0, self.passes))
    monkeypatch.setattr(torch_compile._Watch, "__exit__", lambda self, *_: None)


@pytest.mark.usefixtures("by_copy")
def test_checkpoints_in_turn_go_through_one_copy(families: list[Family]) -> None:
    expected = [tiles(family) for family in families]
    assert not torch.equal(*expected)
    shared, modules = Drawing("on"), []
    for family, plain in zip([*families, families[0]], [*expected, expected[0]], strict=True):
        assert (tiles(family, drawing=shared) - plain).abs().max() <= 1
        modules.append(shared.module)
        assert shared.family is None and shared.denoiser is None
    assert modules[0] is modules[1] is modules[2] is not None
    assert all(module is not family.denoiser for module in modules for family in families)


@pytest.mark.slow
@pytest.mark.usefixtures("by_copy")
def test_another_architecture_gets_a_copy_of_its_own(base: Path, xl_base: Path) -> None:
    shared = Drawing("on")
    for folder in (base, xl_base, base):
        family = load_family(str(folder))
        assert (tiles(family, drawing=shared) - tiles(family)).abs().max() <= 1


def test_a_cpu_draws_through_the_model_itself(families: list[Family], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "deepcopy", lambda *_: pytest.fail("A copy was made."))
    shared = Drawing("auto", pictures=10**9)
    assert torch.equal(tiles(families[0], drawing=shared), tiles(families[0]))


def test_every_batch_is_as_large_as_the_largest(
    families: list[Family], by_copy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    shared, own = Drawing("on"), type(families[0]).predict

    def noted(family: Family, denoiser: torch.nn.Module, noisy: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        seen.append(len(noisy))
        return own(family, denoiser, noisy, *given)

    monkeypatch.setattr(type(families[0]), "predict", noted)
    for family in families:
        tiles(family, drawing=shared)
    assert set(seen) == {2 * 4}


class Clock:
    """A batch takes ten seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 10
        return self.now


@pytest.mark.parametrize(
    ("pictures", "kept", "compiles"), [(100, False, False), (110, False, True), (20, True, False), (25, True, True)]
)
def test_compiling_begins_when_what_is_left_earns_it_back(
    families: list[Family],
    tmp_path: Path,
    by_copy: None,
    monkeypatch: pytest.MonkeyPatch,
    pictures: int,
    kept: bool,
    compiles: bool,
) -> None:
    """By the second batch's pace, 4 in ten seconds, over the pictures then left: of 92, 53 of their 230 seconds can be
    saved, of 102, 59."""
    monkeypatch.delenv(torch_compile.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(engine, "time", Clock())
    monkeypatch.setattr(
        torch_compile, "SAMPLING", torch_compile.CompileCost(new_seconds=58.0, cached_seconds=8.0, gain=1.3)
    )
    pays = torch_compile.CompileCost.pays
    monkeypatch.setattr(
        torch_compile.CompileCost, "pays", lambda self, wanted, _, *rest: pays(self, wanted, "cuda", *rest)
    )
    family = families[0]
    if kept:
        torch_compile.SAMPLING.remember(tmp_path, engine.drawn_name(family))
    told: list[str] = []
    shared = Drawing("auto", pictures, tmp_path, lambda stage, *_: told.append(stage))
    prompts = [f"a fox {number}" for number in range(3)]
    found = draw_tiles(family, prompts, [1, 2, 3, 4], steps=1, batch_size=4, drawing=shared)
    assert (shared.blocks is not None) is compiles and told == ["compiling"] * compiles
    assert torch_compile.SAMPLING.seconds(tmp_path, engine.drawn_name(family)) == (8.0 if kept or compiles else 58.0)
    assert (found.int() - draw_tiles(family, prompts, [1, 2, 3, 4], steps=1).int()).abs().max() <= 1


def test_the_copy_before_is_gone_when_the_next_is_made(
    families: list[Family], by_copy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them are 10 GB of SDXL."""
    shared, family = Drawing("on"), families[0]
    copied, there = copy.deepcopy, []
    with shared.by(family):
        assert shared.module is not None
        before = weakref.ref(shared.module)

        def noted(thing: Any) -> Any:
            there.append(before() is not None)
            return copied(thing)

        monkeypatch.setattr(engine.copy, "deepcopy", noted)
        shared._copy(family, compiling=True)
    assert there == [False]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*.grad attribute of a Tensor:UserWarning")  # Of torch's own tracing.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a:UserWarning")
def test_compiled_blocks_draw_the_same_pictures(
    families: list[Family], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is compiled anew for the next checkpoint, nor for the last, smaller batch."""
    monkeypatch.setattr(torch_compile, "BACKEND", "aot_eager")
    told: list[tuple[int, int | None]] = []
    shared = Drawing("on", 12, tmp_path, lambda _, done, total, detail="": told.append((done, total)))
    for number, family in enumerate(families):
        torch._dynamo.utils.counters.clear()
        assert (tiles(family, drawing=shared) - tiles(family)).abs().max() <= 1
        assert (torch._dynamo.utils.counters["stats"]["unique_graphs"] == 0) is bool(number)
    counts = [done for done, _ in told]
    assert counts == sorted(counts) and counts[-1] == told[-1][1]


@pytest.mark.gpu
@pytest.mark.parametrize("wanted", ["off", "on"])
def test_a_gpu_draws_the_same_pictures_recorded_and_compiled(base: Path, wanted: str) -> None:
    plain = tiles(load_family(str(base)))
    shared = Drawing(wanted)
    for _ in range(2):
        found = tiles(load_family(str(base), "cuda", torch.bfloat16), drawing=shared)
        assert (found - plain).abs().float().mean() < 4
