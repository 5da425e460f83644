"""The engine is BLIP: its logits and its captions are those of transformers' class, however the work is cut."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from curator.captioners.blip import engine as engine_module
from curator.captioners.blip.cuda_graphs import record
from curator.captioners.blip.decoding import Decoding
from curator.captioners.blip.engine import Engine, rows_are_identical
from curator.captioners.blip.network import Network, from_transformers
from curator.captioners.blip.stream import Stream
from curator.captioners.model.sampling import sample_nucleus, uniform
from tests.curator.captioners.blip.tiny_blip import BEGIN, END, normalised, pictures, teacher_forced
from tests.curator.captioners.blip.tiny_blip import model as tiny_model

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
PROMPTS = [(BEGIN,), (BEGIN, 6, 7, 8)]
STEPS = 12


@pytest.fixture(scope="module")
def reference() -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def network(reference: Any) -> Network:
    return from_transformers(reference, MEAN, STD, 1 / 255)


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.slow)])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """How sums are cut depends on how many threads there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def listed(captions: list[Any]) -> list[list[int]]:
    return [tokens.tolist() for tokens in captions]


def generated(reference: Any, prompt: tuple[int, ...], pixels: Any, **options: Any) -> list[list[int]]:
    """What transformers' `generate` writes, up to the end token."""
    ids = torch.tensor([[*prompt, END]]).expand(len(pixels), -1).contiguous()  # it takes the last one off
    options = {"max_new_tokens": STEPS, "do_sample": False, **options}
    rows = reference.generate(normalised(pixels), input_ids=ids, attention_mask=torch.ones_like(ids), **options)
    captions = []
    for row in rows.tolist():
        ends = [place for place in range(len(prompt), len(row)) if row[place] == END]
        captions.append(row[: ends[0] + 1] if ends else row)
    return captions


# ---- the function


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-6), (torch.float32, 1e-4), (torch.bfloat16, 0.3)])
def test_teacher_forced_logits_are_the_references(dtype: torch.dtype, tolerance: float) -> None:
    """Their deviation is 1.2; in float64 what is left is the pixels' normalisation, in float32 on both sides."""
    reference = tiny_model().to(dtype)
    network = from_transformers(reference, MEAN, STD, 1 / 255)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 90, (len(pictures()), 9)))
    with torch.inference_mode():
        wanted = reference(normalised(pictures()).to(dtype), input_ids=tokens).logits
        logits = teacher_forced(network, torch.from_numpy(pictures()), tokens)
    assert logits.dtype == torch.float32
    assert wanted.std() > 0.5
    assert (logits - wanted.float()).abs().max() < tolerance


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize(
    "options, theirs",
    [
        ({}, {}),
        ({"min_new_tokens": 6}, {"min_new_tokens": 6}),
        ({"repetition_penalty": 1.7}, {"repetition_penalty": 1.7}),
        ({"max_new_tokens": 1}, {"max_new_tokens": 1}),
    ],
)
def test_greedy_captions_are_those_of_generate(
    prompt: tuple[int, ...], options: Any, theirs: Any, reference: Any, network: Network
) -> None:
    decoding = Decoding(**{"prompt": prompt, "max_new_tokens": STEPS, **options})
    captions = listed(Engine(network, decoding).generate(pictures()))
    assert captions == generated(reference, prompt, pictures(), **theirs)
    if not options:  # or the test shows little
        assert len(set(map(tuple, captions))) > len(pictures()) // 2
        assert len(set(map(len, captions))) > 3


@pytest.mark.parametrize("prompt", [pytest.param(PROMPTS[0], marks=pytest.mark.slow), *PROMPTS[1:]])
@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 2},
        {"num_beams": 3},
        {"num_beams": 5, "length_penalty": 0.0},
        {"num_beams": 3, "length_penalty": -1.0},
        {"num_beams": 3, "length_penalty": 2.0, "min_new_tokens": 5},
        {"num_beams": 4, "repetition_penalty": 1.5},
        {"num_beams": 3, "max_new_tokens": 1},
    ],
)
def test_beam_captions_are_those_of_generate(
    prompt: tuple[int, ...], options: Any, reference: Any, network: Network
) -> None:
    decoding = Decoding(**{"prompt": prompt, "decode": "beam", "max_new_tokens": STEPS, **options})
    captions = listed(Engine(network, decoding).generate(pictures()))
    assert captions == generated(reference, prompt, pictures(), **options)


@pytest.mark.slow
def test_other_seeds_of_the_weights_too() -> None:
    for seed in (2, 3, 4):
        reference = tiny_model(seed=seed)
        network = from_transformers(reference, MEAN, STD, 1 / 255)
        for options in ({}, {"num_beams": 3}):
            decoding = Decoding((BEGIN,), decode="beam" if options else "greedy", max_new_tokens=STEPS, **options)
            assert listed(Engine(network, decoding).generate(pictures())) == generated(
                reference, (BEGIN,), pictures(), **options
            )


def test_nucleus_samples_from_the_references_nucleus(reference: Any, network: Network) -> None:
    from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

    decoding = Decoding((BEGIN,), decode="nucleus", top_p=0.6, temperature=1.3, max_new_tokens=STEPS)
    uniforms = np.random.default_rng(0).random((len(pictures()), STEPS), dtype=np.float32)
    captions = Engine(network, decoding).generate(pictures(), uniforms)
    greedy = Engine(network, Decoding((BEGIN,), max_new_tokens=STEPS)).generate(pictures())
    assert listed(captions) != listed(greedy)
    for picture, tokens in zip(pictures(), captions, strict=True):
        ids = torch.from_numpy(tokens)[None]
        with torch.inference_mode():
            logits = reference(normalised(picture[None]), input_ids=ids).logits[0]
        allowed = TopPLogitsWarper(0.6)(ids, TemperatureLogitsWarper(1.3)(ids, logits))
        assert torch.isfinite(allowed[torch.arange(len(tokens) - 1), ids[0, 1:]]).all()


def test_a_token_is_sampled_as_often_as_it_is_likely() -> None:
    scores = torch.tensor([2.0, -1.0, 0.5, 1.5, -3.0])
    uniforms = (torch.arange(20_000) + 0.5) / 20_000
    drawn = sample_nucleus(scores.expand(len(uniforms), -1), 0.9, uniforms)[:, 0]
    shares = torch.bincount(drawn, minlength=5) / len(uniforms)
    likely = scores.softmax(0)
    kept = torch.tensor([True, False, True, True, False])  # 0.51 + 0.31 + 0.11 reach 0.9
    assert (shares - torch.where(kept, likely, 0) / likely[kept].sum()).abs().max() < 1e-3


# ---- the way there


@pytest.fixture(scope="module")
def tied() -> Any:
    """Every token has a twin whose score differs in the last bits: any other rounding writes another caption."""
    reference = tiny_model()
    words = reference.text_decoder.bert.embeddings.word_embeddings.weight.data
    bias = reference.text_decoder.cls.predictions.bias.data
    half = len(words) // 2
    noise = torch.randn(words[:half].shape, generator=torch.Generator().manual_seed(0))
    words[half:] = words[:half] * (1 + 1e-7 * noise)
    bias[half:] = bias[:half]
    bias[half + END] -= 100
    return from_transformers(reference, MEAN, STD, 1 / 255)


def options_of(decode: str) -> Decoding:
    return Decoding((BEGIN, 6, 7), decode=decode, num_beams=3, max_new_tokens=STEPS)  # type: ignore[arg-type]


@pytest.mark.parametrize("decode", ["greedy", pytest.param("beam", marks=pytest.mark.slow), "nucleus"])
def test_neighbours_number_and_order_change_no_letter(decode: str, tied: Network, threads: None) -> None:
    uniforms = np.array([[uniform(0, str(image), step) for step in range(STEPS)] for image in range(21)], np.float32)
    engine = Engine(tied, options_of(decode))
    assert engine.size > 1
    whole = listed(engine.generate(pictures(), uniforms))
    for count in (1, 3, 8, 20):
        parts: list[list[int]] = []
        for first in range(0, 21, count):
            part = slice(first, first + count)
            parts += listed(engine.generate(pictures()[part], uniforms[part]))
        assert parts == whole
    assert listed(engine.generate(pictures()[::-1], uniforms[::-1])) == whole[::-1]
    asked_small = Engine(tied, options_of(decode), size=4)
    assert asked_small.size == engine.size  # a batch of another size is computed in another way


def test_the_twins_feel_a_rounding(tied: Network) -> None:
    """Torch's fused attention rounds otherwise: the test above would see it."""
    fused = replace(tied, decoder=replace(tied.decoder, fused=True))
    assert listed(Engine(tied, options_of("greedy")).generate(pictures())) != listed(
        Engine(fused, options_of("greedy")).generate(pictures())
    )


def test_rows_that_arent_alike_are_found_and_decoded_one_by_one(network: Network) -> None:
    """A decoder whose arithmetic depends on the row in the last bit, as a library may."""

    def uneven(x: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(x)).view(-1, *[1] * (x.dim() - 1))
        return torch.nn.functional.gelu(x) * (1 + 1.2e-7 * (rows % 2))

    decoding = Decoding((BEGIN,), max_new_tokens=STEPS)
    odd = replace(network, decoder=replace(network.decoder, activation=uneven))
    assert rows_are_identical(network, decoding, 8)
    assert not rows_are_identical(odd, decoding, 8)
    assert Engine(odd, decoding).size == 1


@pytest.mark.parametrize("decode", ["greedy", "beam"])
@pytest.mark.parametrize(
    "streams, size, steps",
    [(2, 4, 5), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((3, 2, 5), (2, 16, 1), (2, 4, 50)))],
)
def test_parallel_streams_generate_the_same(decode: str, streams: int, size: int, steps: int, network: Network) -> None:
    """What a GPU does, on the CPU: several streams, several steps between looks, the last batch not full."""
    expected = listed(Engine(network, options_of(decode)).generate(pictures()))
    engine = Engine(network, options_of(decode))
    engine.size, engine.stream_count, engine.steps_at_once = size, streams, steps
    assert listed(engine.generate(pictures())) == expected
    assert listed(engine.generate(pictures()[:3])) == expected[:3]
    assert listed(engine.generate(pictures()[5:])) == expected[5:]


def test_steps_stop_once_all_captions_ended(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    started = Stream._start_steps

    def counted(stream: Stream) -> None:
        started(stream)
        done.append(stream.steps_done)

    monkeypatch.setattr(Stream, "_start_steps", counted)
    decoding = Decoding((BEGIN,), max_new_tokens=30)
    engine = Engine(network, decoding)
    every = zip(pictures(), engine.generate(pictures()), strict=True)
    ended = [picture for picture, tokens in every if len(tokens) < 25]
    done.clear()
    captions = engine.generate(ended)
    longest = max(map(len, captions)) - 1
    assert len(ended) > 2
    assert max(done) == longest


def test_a_batch_that_doesnt_fit_is_halved_until_it_does(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(stream: Stream, decoding: Decoding, pinned: bool) -> None:
        if stream.size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        made(stream, decoding, pinned)

    made = Stream._allocate
    expected = listed(Engine(network, options_of("greedy")).generate(pictures()))
    monkeypatch.setattr(Stream, "_allocate", allocate)
    engine = Engine(network, options_of("greedy"))
    assert engine.size > 4
    assert listed(engine.generate(pictures())) == expected
    assert engine.size == 4
    monkeypatch.setattr(Stream, "_allocate", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA")))
    engine.free()
    with pytest.raises(torch.OutOfMemoryError):
        engine.generate(pictures())


def test_without_graphs_it_says_so_and_goes_on() -> None:
    """A build without CUDA can't record; neither can a GPU that is shared in some ways."""
    if torch.cuda.is_available():
        pytest.skip("here graphs can be recorded")

    class Stream:
        def synchronize(self) -> None: ...

    ran: list[int] = []
    works = [lambda: ran.append(1), lambda: ran.append(2)]
    with pytest.warns(RuntimeWarning, match="without CUDA graphs"):
        replays = record(works, Stream())  # type: ignore[arg-type]
    assert replays == works


@pytest.mark.slow
def test_the_gpu_benchmark_runs_from_end_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Tiny and on the CPU: what can only be measured on a GPU must not fail there for a slip."""
    from tests.bench import captioning
    from tests.bench.blip_models import TINY

    with torch.no_grad():
        rows = captioning.bench_gpu(TINY, torch.device("cpu"))
    assert "Traceback" not in capsys.readouterr().err
    names = {row.name for row in rows}
    assert {"ours", "JPEG files to caption rows", "3 beams", "large"} <= names
    equal = next(row for row in rows if row.name == "captions equal: ours float32, generate float32")
    assert equal.ratio == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("decode", ["greedy", "beam", "nucleus"])
def test_graphs_on_a_gpu_write_what_the_cpu_writes(decode: str, reference: Any, network: Network) -> None:
    on_gpu = from_transformers(tiny_model().cuda(), MEAN, STD, 1 / 255)
    uniforms = np.random.default_rng(0).random((21, STEPS), dtype=np.float32)
    expected = listed(Engine(network, options_of(decode)).generate(pictures(), uniforms))
    for graphs in (False, True):
        engine = Engine(on_gpu, options_of(decode), size=4, graphs=graphs)
        for _ in range(2):
            assert listed(engine.generate(pictures(), uniforms)) == expected
        engine.close()


def test_memory_sets_how_many_images_a_stream_holds(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding = Decoding((BEGIN,), max_new_tokens=STEPS)
    wide = engine_module.images_that_fit(network, decoding)
    monkeypatch.setattr(engine_module, "CPU_BYTES", engine_module.CPU_BYTES // 4)
    assert engine_module.images_that_fit(network, decoding) == wide // 4
    monkeypatch.setattr(engine_module, "CPU_BYTES", 1)
    assert engine_module.images_that_fit(network, decoding) == 1


def test_asking_whether_a_copy_is_over_takes_no_lock() -> None:
    """A Ctrl-C in the midst of `Future.done` left its lock taken, and the copying thread waited for it for ever."""
    with ThreadPoolExecutor(1) as thread:
        start = threading.Event()

        def waiting(batch: slice) -> None:
            start.wait(10)

        copy = engine_module._Copy(thread, waiting, slice(0, 1))
        assert not copy.is_done()
        assert copy._future is not None
        with copy._future._condition:
            assert not copy.is_done()
        start.set()
        copy.check()
        assert copy.is_done()

        def broken(batch: slice) -> None:
            raise ValueError("no room")

        copy = engine_module._Copy(thread, broken, slice(0, 1))
        with pytest.raises(ValueError, match="no room"):
            copy.check()
        assert copy.is_done()


def test_on_the_cpu_there_is_no_thread_to_wait_for(network: Network) -> None:
    assert Engine(network, Decoding(prompt=(BEGIN,), max_new_tokens=2))._copy_thread is None
