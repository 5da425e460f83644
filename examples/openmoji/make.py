"""Rasterise the OpenMoji pictures of this example and write their metadata table.

    python examples/openmoji/make.py                   # fetches the npm package with `npm pack`
    python examples/openmoji/make.py --package DIR     # or takes an unpacked one

Writes `images/*.png` (256x256 RGBA, transparent background) and, last, `metadata.csv` beside this file. Needs
`resvg_py` 0.5.0 and Pillow; `npm` only without `--package`. `human.csv` is written by people and never touched.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

PACKAGE = "openmoji@17.0.0"
# The integrity that the registry publishes for this version: a rerun years later starts from the same bytes or stops.
PACKAGE_SHA512 = "EBnYrNGdcdw+OSXmENeNE1yBNRu6tOraTmoOyUbJkTmvT/+XETp8RZLSJFzD3lrPc5N9CzsyPnRTk0Vp4UaI9w=="
SIDE_PX = 256
LICENSE = "CC-BY-SA-4.0"
GROUPS = frozenset({"animals-nature", "food-drink"})
# Cutlery, a jar and an amphora are neither animals, nature nor food.
EXCLUDED_SUBGROUPS = frozenset({"dishware"})
EXCLUDED_HEXCODES = {
    "1F43D": "pig nose: a part, not an animal",
    "1F43E": "paw prints: a sign, not an animal",
    "1F9A0": "microbe: hardly nameable by eye",
    "1F578": "spider web: a thing without its animal",
    "1F4AE": "white flower: a Japanese school stamp",
    "1F3F5": "rosette: an ornament",
    "1F37C": "baby bottle: a thing, not a drink",
}
COLUMNS = ("file_name", "annotation", "group", "subgroup", "tags", "hexcode", "author", "source_url", "license")


class Emoji(TypedDict):
    """The fields of one record of `openmoji.json` that are used here; all are text but `order`."""

    hexcode: str
    annotation: str
    group: str
    subgroups: str
    tags: str
    openmoji_tags: str
    openmoji_author: str
    skintone: str
    order: int | str


def select(records: Iterable[Emoji]) -> list[Emoji]:
    """The pictures of this example in Unicode's order; the order of `records` doesn't matter."""
    return sorted(filter(is_wanted, records), key=lambda record: (int(record["order"]), record["hexcode"]))


def is_wanted(record: Emoji) -> bool:
    """Whether a record is an animal, plant, food or drink that a person can name, without a skin tone."""
    return (
        record["group"] in GROUPS
        and record["subgroups"] not in EXCLUDED_SUBGROUPS
        and record["hexcode"] not in EXCLUDED_HEXCODES
        and not record["skintone"]
    )


def file_name(record: Emoji) -> str:
    """A readable name that never changes: `1F98A-fox.png`."""
    ascii_text = unicodedata.normalize("NFKD", record["annotation"]).encode("ascii", "ignore").decode("ascii")
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")
    return f"{record['hexcode']}-{slug}.png"


def clean_tags(*fields: str) -> str:
    """Comma-separated fields as one: lower case, composed (NFC), single spaces, each tag once, first place kept."""
    words = (unicodedata.normalize("NFC", " ".join(tag.split())).lower() for tag in ",".join(fields).split(","))
    return ", ".join(dict.fromkeys(word for word in words if word))


def metadata_row(record: Emoji) -> dict[str, str]:
    """One row of `metadata.csv`."""
    return {
        "file_name": file_name(record),
        "annotation": record["annotation"],
        "group": record["group"],
        "subgroup": record["subgroups"],
        "tags": clean_tags(record["tags"], record["openmoji_tags"]),
        "hexcode": record["hexcode"],
        "author": record["openmoji_author"],
        "source_url": f"https://openmoji.org/library/emoji-{record['hexcode']}/",
        "license": LICENSE,
    }


def rasterise(svg: str) -> bytes:
    """An SVG as an optimised PNG, SIDE_PX x SIDE_PX RGBA. Lossless: no palette, since edges are anti-aliased."""
    import resvg_py
    from PIL import Image

    rendered = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIDE_PX, height=SIDE_PX, skip_system_fonts=True))
    with Image.open(io.BytesIO(rendered)) as image:
        optimised = io.BytesIO()
        image.convert("RGBA").save(optimised, format="PNG", optimize=True)
    return optimised.getvalue()


def write_whole(path: Path, data: bytes) -> None:
    """Write under a temporary name, then rename: a reader never sees half a file."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    temporary.replace(path)


def table(rows: Iterable[dict[str, str]]) -> bytes:
    """Rows as CSV with a header, LF line ends, UTF-8."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


@contextmanager
def fetched_package() -> Iterator[Path]:
    """A temporary folder with the unpacked npm package, its checksum verified."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", folder]
        try:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"`{' '.join(command[:3])}` failed ({error}); install npm or give --package DIR") from None
        archive = next(Path(folder).glob("*.tgz"))
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode("ascii")
        if digest != PACKAGE_SHA512:
            raise SystemExit(f"{archive.name}: sha512 is {digest}, expected {PACKAGE_SHA512}; fetch it again")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        yield Path(folder) / "package"


def make(package: Path, out: Path, progress: Callable[[int, int], None]) -> int:
    """Write `images/` and `metadata.csv` under `out`; the number of pictures.

    `progress(done, total)` is called after each picture. Pictures of an earlier selection are removed.
    """
    source = package / "data" / "openmoji.json"
    if not source.is_file():
        raise SystemExit(f"{source}: no such file; --package takes the folder of the unpacked npm package {PACKAGE}")
    chosen = select(json.loads(source.read_text(encoding="utf-8")))
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    for done, record in enumerate(chosen, start=1):
        svg = package / "color" / "svg" / f"{record['hexcode']}.svg"
        if not svg.is_file():
            raise SystemExit(f"{svg}: no such file; the package is incomplete, unpack {PACKAGE} again")
        write_whole(images / file_name(record), rasterise(svg.read_text(encoding="utf-8")))
        progress(done, len(chosen))
    names = {file_name(record) for record in chosen}
    for stray in (path for path in images.glob("*.png") if path.name not in names):
        stray.unlink()
    write_whole(out / "metadata.csv", table(map(metadata_row, chosen)))
    return len(chosen)


def show(done: int, total: int) -> None:
    """Progress on stderr: one line that counts up on a terminal, a line for every hundred pictures elsewhere."""
    if sys.stderr.isatty():
        print(f"\r{done}/{total} pictures", end="\n" if done == total else "", file=sys.stderr, flush=True)
    elif done % 100 == 0 or done == total:
        print(f"{done}/{total} pictures", file=sys.stderr)


def main() -> None:
    """Read the arguments and make the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, help=f"folder of the unpacked npm package {PACKAGE}")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write (default: beside me)")
    arguments = parser.parse_args()
    if arguments.package is not None:
        count = make(arguments.package, arguments.out, show)
    else:
        with fetched_package() as package:
            count = make(package, arguments.out, show)
    print(f"{count} pictures in {arguments.out / 'images'}")


if __name__ == "__main__":
    main()
