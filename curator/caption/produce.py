"""Produce captions batch by batch, by a table strategy's expression or by a caption model."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

import polars as pl

from curator.caption.inputs import IDENTITY
from curator.caption.plan import Plan
from curator.caption.result import Effort
from curator.captioners import BadCaptioner, Captioner, captions
from curator.captioners.model import CaptionModel, Item, MachineFailed
from curator.captioners.model.batch_runner import Batch, BatchRunner, one_line
from schemas.errors import AmatlError
from schemas.progress import Progress

EMPTY_ANSWER = "the model wrote nothing"


def by_expression(captioner: Captioner, options: Any, inputs: pl.DataFrame) -> Generator[pl.DataFrame]:
    """Yield a table strategy's captions, a frame (text, reason, failed) a batch. Raises BadCaptioner."""
    assert captioner.caption is not None
    for start in range(0, inputs.height, captioner.batch_size):
        batch = inputs.slice(start, captioner.batch_size)
        frame = captioner.caption(batch, options)
        if frame.columns != ["text", "reason", "failed"] or frame.height != batch.height:
            raise BadCaptioner(
                f"Strategy {captioner.name!r} returned {frame.height} rows of {frame.columns} for {batch.height} "
                "images; see curator.captioners.captions."
            )
        yield frame


def by_model(
    plan: Plan,
    inputs: pl.DataFrame,
    effort: Effort,
    progress: Progress,
    notice: Callable[[str], None],
) -> Generator[pl.DataFrame]:
    """Yield a caption model's captions, a frame (text, reason, failed) a batch, and update `effort`.

    Loads the model first and always closes it. Raises MachineFailed naming the strategy.
    """
    if not inputs.height:
        return
    captioner = plan.captioner
    started = time.perf_counter()
    with _loaded(captioner, plan.options, progress, notice) as model:
        effort.loading_seconds = time.perf_counter() - started
        runner = BatchRunner(model, notice=notice, fetch=plan.originals.fetch)
        progress("captioning", 0, inputs.height)
        started = time.perf_counter()
        try:
            with closing(runner.run(_items(inputs))) as batches:
                for batch in batches:
                    _add(effort, batch, time.perf_counter() - started)
                    effort.batch_size = runner.batch_size.size
                    yield _frame(batch)
        except MachineFailed as error:
            raise MachineFailed(f"{captioner.name}: {error}") from error


@contextmanager
def _loaded(
    captioner: Captioner, options: Any, progress: Progress, notice: Callable[[str], None]
) -> Generator[CaptionModel]:
    """Load the model and close it at the end. An error of `close` is only a notice, because the captions are stored."""
    model = _load(captioner, options, progress)
    try:
        yield model
    finally:
        try:
            model.close()
        except Exception as error:
            notice(f"{captioner.name}: the model couldn't be closed. {one_line(error)}.")


def _load(captioner: Captioner, options: Any, progress: Progress) -> CaptionModel:
    assert captioner.load_model is not None
    progress("loading the model", 0, 1)
    try:
        model = captioner.load_model(options)
    except AmatlError:
        raise
    except ImportError as error:
        raise MachineFailed(
            f"{captioner.name}: {str(error).rstrip('.')}. It needs more packages: pip install 'amatl[captioning]'."
        ) from error
    except Exception as error:  # libraries raise anything on a model they can't read
        raise MachineFailed(f"{captioner.name}: the model can't be loaded. {one_line(error)}.") from error
    progress("loading the model", 1, 1)
    return model


def _items(inputs: pl.DataFrame) -> Iterator[Item]:
    names = [name for name in inputs.columns if name not in IDENTITY]
    for sha256, path, size_bytes, *values in inputs.select(*IDENTITY, *names).iter_rows():
        yield Item(sha256, path, dict(zip(names, values, strict=True)), size_bytes)


def _frame(batch: Batch) -> pl.DataFrame:
    """Convert a batch to the frame of a table strategy. No text, or a blank one, is a failure."""
    texts = [_valid_unicode(output.text or "").strip() or None for output in batch.outputs]
    reasons = [_valid_unicode(output.reason or EMPTY_ANSWER) for output in batch.outputs]
    failed = pl.repeat(True, len(texts), dtype=pl.Boolean, eager=True)
    return captions(pl.Series(texts, dtype=pl.String), pl.Series(reasons, dtype=pl.String), failed)


def _valid_unicode(text: str) -> str:
    """Replace lone surrogates, which a server's JSON may have, by U+FFFD, since the catalog can't store them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _add(effort: Effort, batch: Batch, seconds: float) -> None:
    effort.pictures += len(batch.items)
    effort.seconds = seconds
    effort.images_per_second = effort.pictures / max(seconds, 1e-9)
    for output in batch.outputs:
        effort.input_tokens += output.input_tokens
        effort.output_tokens += output.output_tokens
        effort.cost_usd += output.cost_usd
