"""CLIP scores: the similarity of captions and images in a CLIP model (CLIPScore, Hessel et al. 2021).

Imports torch, so import it only once a model is named. Embeddings are cached by content and model revision. Images are
preprocessed as by CLIP's own processor: shorter side resized to the model's size, center crop, OpenAI's mean and
deviation.

Shapes: N items, D embedding features, T tokens, C, H and W channels and pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from curator.cache import cache_folder
from curator.captioners.model.source import find_source
from curator.compare.agreement import measure
from curator.compare.result import ClipScore
from curator.compare.vectors import Vectors
from curator.images.read import read_rgb, resized
from curator.images.unusable import CannotRead
from curator.text import tokens
from curator.text.tokens import TokenCounter
from schemas.errors import BadOption, NotFound
from schemas.progress import Progress

T = TypeVar("T")

FORMAT = 1  # Raise it if the same image or caption would get another embedding.
BATCH = 32
BATCHES_A_PART = 16
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Clip:
    name: str
    revision: str
    model: Any
    tokenizer: TokenCounter
    device: torch.device

    @property
    def limit(self) -> int:
        return int(self.model.config.text_config.max_position_embeddings)

    @property
    def side_px(self) -> int:
        return int(self.model.config.vision_config.image_size)

    @torch.inference_mode()
    def embed_images(self, pixels_NCHW: torch.Tensor) -> NDArray[np.float16]:
        """Return unit vectors (N, D) of preprocessed images, uint8."""
        pixels = pixels_NCHW.to(self.device).float() / 255
        mean, deviation = (torch.tensor(each, device=self.device).view(1, 3, 1, 1) for each in (MEAN, DEVIATION))
        return _unit(self.model.get_image_features(pixel_values=(pixels - mean) / deviation))

    @torch.inference_mode()
    def embed_captions(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Return unit vectors (N, D) of captions, each cut at the limit."""
        encoded = [self._ids(text) for text in texts]
        longest = max(map(len, encoded))
        ids = torch.tensor([each + [each[-1]] * (longest - len(each)) for each in encoded], device=self.device)
        mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in encoded], device=self.device)
        return _unit(self.model.get_text_features(input_ids=ids, attention_mask=mask))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.tokenizer.encode(text).ids
        return ids if len(ids) <= self.limit else [*ids[: self.limit - 1], ids[-1]]


def load(name: str) -> Clip:
    """Load a CLIP model by folder or hub name. Raises NotFound, or BadOption for another kind of model."""
    from transformers import AutoConfig, CLIPModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        source = find_source(name)
    except NotFound as error:
        raise NotFound(f"--clip: {error}") from None
    try:
        kind = AutoConfig.from_pretrained(source.location, revision=source.commit).model_type
        if kind != "clip":
            raise BadOption(f"--clip {name}: a {kind} model. Name a CLIP model, such as openai/clip-vit-base-patch32.")
        model = CLIPModel.from_pretrained(source.location, revision=source.commit)
    except (OSError, ValueError) as error:
        if isinstance(error, BadOption):
            raise
        raise NotFound(f"--clip {name}: can't be loaded. {str(error).splitlines()[0]}") from None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Clip(source.name, source.revision, model.eval().to(device), tokens.load(source.location), device)


def clip_scores(
    captions: pl.DataFrame,
    labels: Sequence[str],
    find: Callable[[str], Sequence[str]],
    clip: Clip,
    progress: Progress,
) -> tuple[dict[str, tuple[ClipScore, pl.Series]], list[str]]:
    """Return for each label its score and the scores by image (null if unreadable), and notices.

    `captions`: image_sha256 and a column of text for each label. `find`: the possible paths of an image, by sha256.
    """
    images = captions["image_sha256"].to_list()
    image_vectors = _image_vectors(clip, images, find, progress)
    if not image_vectors:
        return {}, [f"No CLIP scores: none of the {len(images):,} images can be read."]
    texts = sorted({text for label in labels for text in captions[label].unique().to_list()})
    caption_vectors = _caption_vectors(clip, texts, progress)
    scores = {label: _scores(images, captions[label].to_list(), image_vectors, caption_vectors) for label in labels}
    best = pl.DataFrame(list(scores.values())).max_horizontal()
    results = {}
    for label in labels:
        values = scores[label].drop_nulls()
        results[label] = (
            ClipScore(
                model=clip.name,
                revision=clip.revision,
                images=len(values),
                score=measure(values),
                best_share=float((scores[label] == best).sum()) / len(values),
                truncated=int((clip.tokenizer.count(captions[label]) > clip.limit).sum()),
            ),
            scores[label],
        )
    unreadable = len(images) - len(image_vectors)
    notice = f"CLIP scores leave out {unreadable:,} of {len(images):,} images: their files can't be read here any more."
    return results, [notice] if unreadable else []


def _scores(
    images: list[str],
    texts: list[str],
    image_vectors: dict[str, NDArray[np.float16]],
    caption_vectors: dict[str, NDArray[np.float16]],
) -> pl.Series:
    def score(image: str, text: str) -> float | None:
        vector = image_vectors.get(image)
        if vector is None:
            return None
        return 100 * max(float(np.dot(vector.astype(np.float32), caption_vectors[_key(text)])), 0.0)

    return pl.Series([score(*pair) for pair in zip(images, texts, strict=True)], dtype=pl.Float64)


def _image_vectors(
    clip: Clip, images: Sequence[str], find: Callable[[str], Sequence[str]], progress: Progress
) -> dict[str, NDArray[np.float16]]:
    cache = _cache(clip, "pictures")
    known = cache.known(images)
    todo = [image for image in images if image not in known]
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:

        def embed(batch: list[tuple[str, NDArray[np.uint8] | None]]) -> tuple[list[str], NDArray[np.float16]]:
            readable = [(image, pixels) for image, pixels in batch if pixels is not None]
            if not readable:
                return [], np.zeros((0, 1), dtype=np.float16)
            pixels_NCHW = torch.from_numpy(np.stack([pixels for _, pixels in readable]))
            return [image for image, _ in readable], clip.embed_images(pixels_NCHW)

        def read(image: str) -> tuple[str, NDArray[np.uint8] | None]:
            return image, _preprocessed(find(image), clip.side_px)

        items = _read_ahead(threads, read, todo)
        return known | _embed(cache, items, embed, len(todo), "embedding images", progress)


def _caption_vectors(clip: Clip, texts: Sequence[str], progress: Progress) -> dict[str, NDArray[np.float16]]:
    """Return the vectors by sha256 of the caption. Captions of similar length share a batch, to save padding."""
    cache = _cache(clip, "captions")
    by_key = {_key(text): text for text in texts}
    known = cache.known(by_key)
    todo = sorted((key for key in by_key if key not in known), key=lambda key: (len(by_key[key]), key))

    def embed(batch: list[str]) -> tuple[list[str], NDArray[np.float16]]:
        return batch, clip.embed_captions([by_key[key] for key in batch])

    return known | _embed(cache, iter(todo), embed, len(todo), "embedding captions", progress)


def _embed(
    cache: Vectors,
    items: Iterator[T],
    embed: Callable[[list[T]], tuple[list[str], NDArray[np.float16]]],
    total: int,
    stage: str,
    progress: Progress,
) -> dict[str, NDArray[np.float16]]:
    """Embed batch by batch and save the vectors part by part; an interruption saves the unfinished part too."""
    vectors: dict[str, NDArray[np.float16]] = {}
    unsaved: list[str] = []

    def save() -> None:
        if unsaved:
            cache.add(unsaved, np.stack([vectors[key] for key in unsaved]))
            unsaved.clear()

    done = 0
    try:
        while batch := [item for _, item in zip(range(BATCH), items, strict=False)]:
            keys, vectors_ND = embed(batch)
            vectors.update(zip(keys, vectors_ND, strict=True))
            unsaved += keys
            done += len(batch)
            progress(stage, done, total)
            if len(unsaved) >= BATCH * BATCHES_A_PART:
                save()
    finally:
        save()
    return vectors


def _read_ahead(threads: ThreadPoolExecutor, work: Callable[[str], T], items: Sequence[str]) -> Iterator[T]:
    """Yield the results in order. At most two batches are computed ahead of the consumer."""
    waiting = [threads.submit(work, item) for item in items[: 2 * BATCH]]
    for index in range(len(items)):
        following = index + 2 * BATCH
        if following < len(items):
            waiting.append(threads.submit(work, items[following]))
        yield waiting.pop(0).result()


def _preprocessed(paths: Sequence[str], side_px: int) -> NDArray[np.uint8] | None:
    """Return the center square of the first readable file, uint8 (3, side, side); None if none is readable."""
    for path in paths:
        try:
            pixels_HWC = read_rgb(path, (side_px, side_px))
        except (CannotRead, OSError):
            continue
        height, width = pixels_HWC.shape[:2]
        scale = side_px / min(height, width)
        pixels_CHW = resized(pixels_HWC, max(round(height * scale), side_px), max(round(width * scale), side_px))
        top, left = (pixels_CHW.shape[1] - side_px) // 2, (pixels_CHW.shape[2] - side_px) // 2
        return pixels_CHW[:, top : top + side_px, left : left + side_px]
    return None


def _unit(output: Any) -> NDArray[np.float16]:
    """Normalise the projected features. Releases of transformers return them bare or as `pooler_output`."""
    features = output if isinstance(output, torch.Tensor) else output.pooler_output
    vectors_ND: NDArray[np.float16] = torch.nn.functional.normalize(features.float(), dim=-1).half().cpu().numpy()
    return vectors_ND


def _cache(clip: Clip, kind: str) -> Vectors:
    digest = sha256(f"{FORMAT} {clip.revision} {clip.side_px} {clip.limit}".encode()).hexdigest()
    return Vectors(cache_folder() / "clip" / digest[:32] / kind)


def _key(text: str) -> str:
    return sha256(text.encode()).hexdigest()
