"""Digests: canonical, whatever the text, and equal to what RFC 8785 gives."""

from __future__ import annotations

import hashlib
from pathlib import Path

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from schemas.digest import CHUNK_BYTES, sha256_file, sha256_json, snapshot_identity

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SHAS = st.binary(min_size=32, max_size=32).map(bytes.hex)
SAMPLES = st.dictionaries(
    SHAS, st.tuples(st.dictionaries(TEXT, st.none() | TEXT), st.sampled_from(["train", "validation"])), max_size=4
)


@given(SAMPLES)
def test_the_identity_is_that_of_the_canonical_whole(samples: dict[str, tuple[dict[str, str | None], str]]) -> None:
    listed = [(sha256, captions, split) for sha256, (captions, split) in samples.items()]
    whole = rfc8785.dumps([list(sample) for sample in sorted(listed, key=lambda sample: sample[0])])
    assert snapshot_identity(listed) == hashlib.sha256(whole).hexdigest()
    assert snapshot_identity(reversed(listed)) == snapshot_identity(listed)


def test_names_are_sorted_by_utf16_as_the_rfc_says() -> None:
    captions = {"\ufb33": "after in UTF-16", "\U0001f600": "before", "a": 'control \x7f\x1f\x08 "quoted" \\ é'}
    whole = rfc8785.dumps([["0" * 64, captions, "train"]])
    assert snapshot_identity([("0" * 64, captions, "train")]) == hashlib.sha256(whole).hexdigest()


def test_every_part_counts() -> None:
    plain = ("a" * 64, {"human": "a fox"}, "train")
    others = [
        ("b" * 64, {"human": "a fox"}, "train"),
        ("a" * 64, {"human": "a fox."}, "train"),
        ("a" * 64, {"human": None}, "train"),
        ("a" * 64, {"human": ""}, "train"),
        ("a" * 64, {"hand": "a fox"}, "train"),
        ("a" * 64, {}, "train"),
        ("a" * 64, {"human": "a fox"}, "validation"),
    ]
    identities = {snapshot_identity([sample]) for sample in [plain, *others]}
    assert len(identities) == 8
    assert snapshot_identity([plain, others[0]]) not in identities


def test_the_digest_of_a_value_ignores_how_it_is_written() -> None:
    assert sha256_json({"b": 1.0, "a": [True, None]}) == sha256_json({"a": [True, None], "b": 1})
    assert sha256_json({"a": 1}) != sha256_json({"a": "1"})


def test_the_digest_of_a_file(tmp_path: Path) -> None:
    content = b"0123456789" * (CHUNK_BYTES // 5)
    (tmp_path / "file").write_bytes(content)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()
