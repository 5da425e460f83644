"""Build the training set of the mini Stable Diffusion: three open emoji sets as 64 px pictures on white.

Pictures: Noto (npm `emoji-datasource-google`), Fluent 3D (`@lobehub/fluent-emoji-3d`), Twemoji (`@discordapp/twemoji`).
Names, keywords, groups: CLDR data in `emojibase-data`. OpenMoji is left out on purpose: it is the style that the
examples finetune to. Skin-tone variants are left out: they repeat one drawing five times.

    python data.py --out emoji.npz                      # fetches the packages with npm
    python data.py --out emoji.npz --packages DIR       # DIR is a node_modules folder that has them
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SIZE_PX = 64
PACKAGES = {
    "emoji-datasource-google": "16.0.0",
    "@lobehub/fluent-emoji-3d": "1.1.0",
    "@discordapp/twemoji": "16.0.1",
    "emojibase-data": "17.0.0",
}
SETS = {
    "noto": ("emoji-datasource-google/img/google/64", ".png"),
    "fluent": ("@lobehub/fluent-emoji-3d/assets", ".webp"),
    "twemoji": ("@discordapp/twemoji/dist/svg", ".svg"),
}
NOT_FLIPPABLE_GROUPS = {"flags", "symbols"}
NOT_FLIPPABLE_SUBGROUPS = {"time"}
PALETTE = (
    ("red", 214, 45, 48), ("red", 150, 25, 40), ("orange", 245, 130, 32), ("orange", 250, 160, 70),
    ("yellow", 252, 205, 60), ("yellow", 255, 225, 110), ("green", 75, 160, 70), ("green", 40, 90, 45),
    ("green", 140, 195, 75), ("blue", 45, 95, 200), ("blue", 25, 50, 120), ("light blue", 130, 200, 240),
    ("light blue", 70, 165, 235), ("purple", 140, 85, 180), ("purple", 190, 150, 220), ("pink", 245, 130, 175),
    ("pink", 250, 175, 190), ("pink", 225, 70, 140), ("brown", 135, 85, 60), ("brown", 90, 55, 45),
    ("brown", 170, 110, 75), ("beige", 215, 170, 130), ("beige", 240, 215, 180), ("black", 35, 35, 40),
    ("black", 55, 60, 65), ("grey", 140, 145, 150), ("grey", 100, 110, 120), ("grey", 180, 190, 200),
    ("white", 245, 245, 245), ("white", 225, 230, 235),
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """What is known about one picture; everything a caption can be made of."""

    source: str
    """noto, fluent or twemoji."""
    hexcode: str
    label: str
    tags: list[str]
    group: str
    subgroup: str
    colours: list[str]
    split: str
    """train; `concept`: held out in all three sets; `picture`: held out in this set, seen in the others."""

    @property
    def flippable(self) -> bool:
        """True when the mirror image still fits the name."""
        sided = any(word in self.label for word in ("left", "right", "clock"))
        return not sided and self.group not in NOT_FLIPPABLE_GROUPS and self.subgroup not in NOT_FLIPPABLE_SUBGROUPS


def fetch_packages(folder: Path) -> Path:
    """Install the pinned packages with npm below `folder`; returns its node_modules."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    command = ["npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    subprocess.run([*command, *wanted], check=True)
    return folder / "node_modules"


def normalised(hexcode: str) -> str:
    """One spelling of a code point sequence for all sets: lower case, no variation selector, no leading zeros."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f").lstrip("0")


def held_out(source: str, hexcode: str) -> str:
    """The split, a pure function of the names: about 2% of the concepts, then 3% of the pictures."""

    def draw(text: str) -> int:
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 1000

    if draw(f"held-out concept {hexcode}") < 20:
        return "concept"
    return "picture" if draw(f"picture {source} {hexcode}") < 30 else "train"


def on_white(path: Path) -> tuple[Image.Image, Image.Image]:
    """Read a PNG, WebP or SVG file: (64 px RGB on white, 64 px alpha)."""
    import resvg_py
    from PIL import Image

    data = path.read_bytes()
    if path.suffix == ".svg":
        data = bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=256, height=256))
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    small = (SIZE_PX, SIZE_PX)
    lanczos = Image.Resampling.LANCZOS
    return white.convert("RGB").resize(small, lanczos), image.getchannel("A").resize(small, lanczos)


def main_colours(rgb: np.ndarray, alpha: np.ndarray) -> list[str]:
    """At most two colour names, each covering a quarter of the drawing; (64,64,3) and (64,64) uint8."""
    import numpy as np

    pixels = rgb[alpha > 128].astype(np.float32)
    if not len(pixels):
        return []
    names = [name for name, *_ in PALETTE]
    anchors = np.array([rgb for _, *rgb in PALETTE], np.float32)
    # Perceived differences are larger in green than in red and blue.
    distance = ((pixels[:, None] - anchors[None]) ** 2 * np.array([0.3, 0.5, 0.2], np.float32)).sum(-1)
    shares: dict[str, float] = {}
    for name, count in zip(names, np.bincount(distance.argmin(1), minlength=len(anchors)), strict=True):
        shares[name] = shares.get(name, 0.0) + float(count) / len(pixels)
    return [name for name in sorted(shares, key=lambda n: -shares[n])[:2] if shares[name] >= 0.25]


def names_and_groups(packages: Path) -> list[dict[str, Any]]:
    """Emoji with CLDR label, tags and the group and subgroup keys of Unicode's emoji-test; no flags' letters."""
    folder = packages / "emojibase-data" / "en"
    messages = json.loads((folder / "messages.json").read_text("utf-8"))
    groups = {g["order"]: g["key"] for g in messages["groups"]}
    subgroups = {g["order"]: g["key"] for g in messages["subgroups"]}
    emoji = json.loads((folder / "data.json").read_text("utf-8"))
    return [
        {
            "hexcode": normalised(e["hexcode"]),
            "label": e["label"].replace("“", "").replace("”", "").replace("’", "'"),
            "tags": e.get("tags", []),
            "group": groups[e["group"]],
            "subgroup": subgroups[e["subgroup"]],
        }
        for e in emoji
        if "group" in e and groups[e["group"]] != "component"
    ]


def build(packages: Path, out: Path) -> list[Record]:
    """Write `out` (.npz): `blob` and `offsets`, lossless WebP files end to end, and `records`, JSON."""
    import numpy as np

    emoji = names_and_groups(packages)
    records, files = [], []
    for source, (folder, suffix) in SETS.items():
        found = {normalised(path.stem): path for path in (packages / folder).iterdir() if path.suffix == suffix}
        for entry in emoji:
            if entry["hexcode"] not in found:
                continue
            rgb, alpha = on_white(found[entry["hexcode"]])
            colours = main_colours(np.asarray(rgb), np.asarray(alpha))
            split = held_out(source, entry["hexcode"])
            records.append(Record(source=source, colours=colours, split=split, **entry))
            buffer = io.BytesIO()
            rgb.save(buffer, "WEBP", lossless=True)
            files.append(buffer.getvalue())
    blob = np.frombuffer(b"".join(files), np.uint8)
    offsets = np.cumsum([0, *map(len, files)])
    text = json.dumps([vars(r) for r in records], ensure_ascii=False)
    np.savez(out, blob=blob, offsets=offsets, records=np.frombuffer(text.encode(), np.uint8))
    return records


def load(path: Path) -> tuple[np.ndarray, list[Record]]:
    """Read what `build` wrote: images (N,64,64,3) uint8 and their records."""
    import numpy as np
    from PIL import Image

    with np.load(path) as archive:
        blob, offsets = archive["blob"].tobytes(), archive["offsets"]
        records = [Record(**r) for r in json.loads(archive["records"].tobytes())]
    images = [np.asarray(Image.open(io.BytesIO(blob[a:b])).convert("RGB")) for a, b in itertools.pairwise(offsets)]
    return np.stack(images), records


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("emoji.npz"))
    parser.add_argument("--packages", type=Path, help="a node_modules folder that has the four packages")
    arguments = parser.parse_args()
    packages = arguments.packages or fetch_packages(arguments.out.parent / "packages")
    records = build(packages, arguments.out)
    splits = [r.split for r in records]
    print({name: splits.count(name) for name in sorted(set(splits))}, f"{arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
