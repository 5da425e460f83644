"""Judge the mini BLIP: token F1 of its greedy captions on pictures that it never saw, beside baselines, and a sheet.

    python blip_evaluate.py ../blip --openmoji ../../openmoji --out report

OpenMoji is a style that training never had. Token F1 of a caption against the annotation is that of
`curator/text/similarity.py`: words are runs of letters and digits (an apostrophe or hyphen inside counts as theirs),
lower case; with m words in common, each as often as both have it, F1 is 2 m / (words of both), the harmonic mean of
precision and recall. A set's score is the mean over its pictures.
"""

from __future__ import annotations

import argparse
import collections
import csv
import json
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS, CELL_PX, SIDE_PX, LINE_PX, LETTERS = 8, 132, 88, 13, 22
SHOWN = 64
RIGHT, PARTLY, WRONG, GREY = "#0a7a2f", "#8a6100", "#b3261e", "#888888"


def words(text: str) -> list[str]:
    """The words of a text, lower case."""
    return re.findall(r"[^\W_]+(?:['’\-][^\W_]+)*", text.lower())


def token_f1(caption: str, annotation: str) -> float:
    """From 0, no word in common, to 1, the same words; 1 too when neither has any."""
    said, true = collections.Counter(words(caption)), collections.Counter(words(annotation))
    both = said.total() + true.total()
    return 2 * (said & true).total() / both if both else 1.0


def mean_f1(captions: Sequence[str], annotations: Sequence[str]) -> float:
    """Mean token F1 over pictures."""
    return sum(map(token_f1, captions, annotations)) / len(annotations)


def greedy(model: Any, processor: Any, images: Sequence[Any], device: str, batch: int = 64) -> list[str]:
    """Captions by plain `generate`, of arrays or pictures."""
    captions: list[str] = []
    for start in range(0, len(images), batch):
        pixels = processor(images=list(images[start : start + batch]), return_tensors="pt").pixel_values
        numbers = model.generate(pixels.to(device, model.dtype), max_new_tokens=16)
        captions += processor.tokenizer.batch_decode(numbers, skip_special_tokens=True)
    return captions


def openmoji(folder: Path) -> tuple[list[Image.Image], list[dict[str, str]]]:
    """The example's pictures on white, as drawn there, and their rows of metadata."""
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [on_white(folder / "images" / row["file_name"]) for row in rows], rows


def on_white(path: Path) -> Image.Image:
    """A picture with its transparent parts white: BLIP's processor would make them black."""
    with Image.open(path) as opened:
        image = opened.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white.convert("RGB")


def scores(captions: Sequence[str], annotations: Sequence[str], shuffles: int = 100) -> dict[str, float | str]:
    """Mean token F1 of the captions; of one for every picture, their most frequent or the best; of them shuffled."""
    frequent = collections.Counter(captions).most_common(1)[0][0]
    rng, shuffled = random.Random(0), 0.0
    for _ in range(shuffles):
        shuffled += mean_f1(rng.sample(captions, len(captions)), annotations) / shuffles
    best = best_constant(annotations)
    pairs = list(zip(map(words, captions), map(words, annotations), strict=True))
    return {
        "f1": round(mean_f1(captions, annotations), 3),
        "exactly right": round(sum(said == true for said, true in pairs) / len(pairs), 3),
        "a word right": round(sum(bool(set(said) & set(true)) for said, true in pairs) / len(pairs), 3),
        "f1 most frequent": round(mean_f1([frequent] * len(annotations), annotations), 3),
        "most frequent": frequent,
        "f1 best constant": round(mean_f1([best] * len(annotations), annotations), 3),
        "best constant": best,
        "f1 shuffled": round(shuffled, 3),
        "pictures": len(pairs),
    }


def best_constant(annotations: Sequence[str]) -> str:
    """The annotation that scores best when said of every picture: what one could do without looking."""
    return max(sorted(set(annotations)), key=lambda text: mean_f1([text] * len(annotations), annotations))


def sheet(images: Sequence[Image.Image], captions: Sequence[str], annotations: Sequence[str]) -> Image.Image:
    """Pictures over their caption: green when right, brown when partly, red when not, then the annotation in grey."""
    lines = -(-len(images) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * CELL_PX, lines * (SIDE_PX + 3 * LINE_PX)), "white")
    draw = ImageDraw.Draw(page)
    for i, (image, caption, annotation) in enumerate(zip(images, captions, annotations, strict=True)):
        x, y = i % COLUMNS * CELL_PX, i // COLUMNS * (SIDE_PX + 3 * LINE_PX)
        page.paste(image.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS), (x + (CELL_PX - SIDE_PX) // 2, y))
        score = token_f1(caption, annotation)
        colour = RIGHT if score == 1 else WRONG if score == 0 else PARTLY
        middle = x + CELL_PX / 2
        draw.text((middle, y + SIDE_PX), caption[:LETTERS], fill=colour, anchor="ma")
        if score < 1:
            draw.text((middle, y + SIDE_PX + LINE_PX), annotation[:LETTERS], fill=GREY, anchor="ma")
    return page


def main() -> None:
    """Command line."""
    from transformers import BlipForConditionalGeneration, BlipProcessor

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--openmoji", type=Path, required=True, help="examples/openmoji")
    parser.add_argument("--dataset", type=Path, help="emoji.npz: also measure the held-out pictures")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    model = BlipForConditionalGeneration.from_pretrained(arguments.folder, dtype="float32").to(arguments.device).eval()
    processor = BlipProcessor.from_pretrained(arguments.folder)
    images, rows = openmoji(arguments.openmoji)
    annotations = [row["annotation"] for row in rows]
    captions = greedy(model, processor, images, arguments.device)
    numbers: dict[str, Any] = {"OpenMoji": scores(captions, annotations)}
    if arguments.dataset:
        from data import load

        pictures, records = load(arguments.dataset)
        for split in ("picture", "concept"):
            chosen = [i for i, r in enumerate(records) if r.split == split]
            said = greedy(model, processor, pictures[chosen], arguments.device)
            numbers[f"held-out {split}"] = scores(said, [records[i].label for i in chosen])
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "numbers.json").write_text(json.dumps(numbers, indent=2) + "\n", "utf-8")
    print(json.dumps(numbers, indent=2))
    shown = [i * len(images) // SHOWN for i in range(SHOWN)]
    page = sheet([images[i] for i in shown], [captions[i] for i in shown], [annotations[i] for i in shown])
    page.save(arguments.out / "captions.webp", lossless=True)


if __name__ == "__main__":
    main()
