"""Makes captions batch by batch, by a table strategy's expression or by a machine on its conveyor."""

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
from curator.captioners.model import Item, Machine, MachineFailed
from curator.captioners.model.batch_runner import Batch, Conveyor, one_line
from schemas.errors import AmatlError
from schemas.progress import Progress

NOTHING_WRITTEN = "the model wrote nothing"


def by_expression(captioner: Captioner, options: Any, inputs: pl.DataFrame) -> Generator[pl.DataFrame]:
    """A table strategy's captions, a frame (text, reason, failed) a batch. Raises BadCaptioner."""
    assert captioner.caption is not None
    for start in range(0, inputs.height, captioner.batch_size):
        batch = inputs.slice(start, captioner.batch_size)
        made = captioner.caption(batch, options)
        if made.columns != ["text", "reason", "failed"] or made.height != batch.height:
            raise BadCaptioner(
                f"Strategy {captioner.name!r} returned {made.height} rows of {made.columns} for {batch.height} images; "
                "see curator.captioners.captions."
            )
        yield made


def by_machine(
    plan: Plan,
    inputs: pl.DataFrame,
    effort: Effort,
    progress: Progress,
    notice: Callable[[str], None],
) -> Generator[pl.DataFrame]:
    """A machine's captions, a frame (text, reason, failed) a batch; `effort` is kept up to date.

    The machine is loaded first, and closed however this ends. Raises MachineFailed naming the strategy.
    """
    if not inputs.height:
        return
    captioner = plan.captioner
    started = time.perf_counter()
    with _loaded(captioner, plan.options, progress, notice) as machine:
        effort.loading_seconds = time.perf_counter() - started
        conveyor = Conveyor(machine, notice=notice, fetch=plan.originals.fetch)
        progress("captioning", 0, inputs.height)
        started = time.perf_counter()
        try:
            with closing(conveyor.run(_items(inputs))) as batches:
                for batch in batches:
                    _add(effort, batch, time.perf_counter() - started)
                    effort.batch_size = conveyor.batch_size.size
                    yield _frame(batch)
        except MachineFailed as error:
            raise MachineFailed(f"{captioner.name}: {error}") from error


@contextmanager
def _loaded(
    captioner: Captioner, options: Any, progress: Progress, notice: Callable[[str], None]
) -> Generator[Machine]:
    """The machine, closed in the end. A machine that can't even be closed costs no caption: it is said."""
    machine = _load(captioner, options, progress)
    try:
        yield machine
    finally:
        try:
            machine.close()
        except Exception as error:
            notice(f"{captioner.name}: the model couldn't be put away. {one_line(error)}.")


def _load(captioner: Captioner, options: Any, progress: Progress) -> Machine:
    assert captioner.machine is not None
    progress("loading the model", 0, 1)
    try:
        machine = captioner.machine(options)
    except AmatlError:
        raise
    except ImportError as error:
        raise MachineFailed(
            f"{captioner.name}: {str(error).rstrip('.')}. It needs more packages: pip install 'amatl[captioning]'."
        ) from error
    except Exception as error:  # whatever a library says of a model it can't read
        raise MachineFailed(f"{captioner.name}: the model can't be loaded. {one_line(error)}.") from error
    progress("loading the model", 1, 1)
    return machine


def _items(inputs: pl.DataFrame) -> Iterator[Item]:
    names = [name for name in inputs.columns if name not in IDENTITY]
    for sha256, path, size_bytes, *values in inputs.select(*IDENTITY, *names).iter_rows():
        yield Item(sha256, path, dict(zip(names, values, strict=True)), size_bytes)


def _frame(batch: Batch) -> pl.DataFrame:
    """A batch as a table strategy would give it: no text is a failure, and so is a caption of no words."""
    texts = [_unicode(written.text or "").strip() or None for written in batch.written]
    reasons = [_unicode(written.reason or NOTHING_WRITTEN) for written in batch.written]
    failed = pl.repeat(True, len(texts), dtype=pl.Boolean, eager=True)
    return captions(pl.Series(texts, dtype=pl.String), pl.Series(reasons, dtype=pl.String), failed)


def _unicode(text: str) -> str:
    """Without halves of surrogate pairs, which JSON of a server may have and a catalog can't: U+FFFD there."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _add(effort: Effort, batch: Batch, seconds: float) -> None:
    """Counts a finished batch; `seconds` since the first picture was read."""
    effort.pictures += len(batch.items)
    effort.seconds = seconds
    effort.images_per_second = effort.pictures / max(seconds, 1e-9)
    for written in batch.written:
        effort.input_tokens += written.input_tokens
        effort.output_tokens += written.output_tokens
        effort.cost_usd += written.cost_usd
