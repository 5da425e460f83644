"""What can be told of one caption by itself, and phrases fused to most."""

from __future__ import annotations

import polars as pl
import pytest

from curator.check.fused import fused_phrases
from curator.text import printable as tests
from curator.text.words import words


def holds(test: object, caption: str) -> bool:
    assert callable(test)
    return bool(test(pl.Series([caption, "a plain caption"]))[0])


@pytest.mark.parametrize(
    "caption", ["café", "l’œil – “vu”", "São Paulo", "PÃO", "Ångström Ø", "日本語", "20 °C", "naïve £5"]
)
def test_captions_that_were_read_well_are_no_mojibake(caption: str) -> None:
    assert not holds(tests.is_mojibake, caption)


@pytest.mark.parametrize("well", ["café", "l’œil – “vu”", "20 °C", "日本語", "naïve £5", "🦊 fox", "Łódź", "Привет"])
@pytest.mark.parametrize("codec", ["cp1252", "latin-1"])
def test_mojibake_is_found_and_read_back(well: str, codec: str) -> None:
    try:
        badly = well.encode().decode(codec)
    except UnicodeDecodeError:  # a byte that Windows-1252 leaves open
        badly = "".join(
            chr(byte) if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([byte]).decode(codec)
            for byte in well.encode()
        )
    assert holds(tests.is_mojibake, badly)
    assert tests.repaired(badly) == well


def test_broken_invisible_and_torn() -> None:
    assert holds(tests.has_replaced, "a na\ufffdve fox")
    for caption in ("bell\x07", "tab\there", "zero\u200bwidth", "\ufeffbom", "\u202eover", "soft\u00adhyphen", "\x7f"):
        assert holds(tests.has_invisible, caption)
    for caption in ("two\nlines", "carriage\rreturn", "next\x85line", "line\u2028separator"):
        assert holds(tests.has_line_break, caption)
        assert not holds(tests.has_invisible, caption)
    for caption in ("👩\u200d🚀 astronaut", "می\u200cخواهم", "🏴\U000e0067\U000e007f flag", "é"):
        assert not holds(tests.has_invisible, caption)
    assert tests.shown("a\u200bb\n") == "a\\u200bb\\n"


def test_empty_and_one_word() -> None:
    assert [holds(tests.is_empty, caption) for caption in ("", " \t", ".")] == [True, True, False]
    assert [holds(tests.is_one_word, caption) for caption in ("", "fox", " fox, ", "a fox")] == [
        False,
        True,
        True,
        False,
    ]


def test_a_sentence_of_a_script_without_blanks_isnt_one_word() -> None:
    sentences = ("日本語の説明文です", "一只狐狸坐在雪地里", "จิ้งจอกแดงนั่งอยู่บนหิมะ")
    assert [holds(tests.is_one_word, caption) for caption in (*sentences, "狐狸", "きつね", "🦊🦊🦊🦊🦊🦊🦊")] == [
        *(False, False, False),
        *(True, True, True),
    ]


def test_a_trigger_is_a_whole_word_or_phrase_in_any_case() -> None:
    captions = pl.Series(["sks fox", "a SKS, fox", "sksfox", "", "fox sks", "a fox"])
    assert tests.lacks(captions, "sks").to_list() == [False, False, True, True, False, True]
    assert tests.lacks(pl.Series(["c++ (new) fox", "c fox"]), "c++ (new)").to_list() == [False, True]


def phrases(captions: list[str], above: float = 0.85, ignore: str = "") -> list[tuple[str, int]]:
    found = fused_phrases(words(pl.Series(captions, dtype=pl.String)), above, frozenset(ignore.split()))
    return [(phrase.text, len(phrase.rows)) for phrase in found]


def test_the_longest_phrase_is_found_and_words_of_grammar_alone_are_none() -> None:
    captions = [f"Openmoji drawing of a {name}, the one of the many" for name in "abcdefghijklmnopqrst"]
    assert phrases(captions) == [("openmoji drawing of a", 20), ("the one of the many", 20)]
    assert phrases([f"the {name} of the {name}" for name in "bcdefghijklmnopq"]) == []


def test_a_word_that_is_commoner_than_the_phrase_is_shown_too() -> None:
    captions = [
        f"{'drawing of' if place < 18 else 'a'} photo{place} {'' if place < 18 else 'drawing'} x{place}"
        for place in range(20)
    ]
    assert phrases(captions) == [("drawing", 20), ("drawing of", 18)]


def test_a_share_that_is_reached_exactly_is_not_above() -> None:
    captions = [f"red thing{place}" if place < 17 else f"thing{place}" for place in range(20)]
    assert phrases(captions, 0.85) == []
    assert phrases(captions, 0.84) == [("red", 17)]


def test_a_phrase_twice_in_a_caption_counts_once() -> None:
    captions = [f"red red red thing{place}" if place < 10 else f"thing{place}" for place in range(20)]
    assert phrases(captions, 0.6) == []


def test_the_trigger_is_no_fused_term_and_parts_phrases() -> None:
    captions = [f"a sks drawing of thing{place}" for place in range(20)]
    assert phrases(captions, ignore="sks") == [("drawing of", 20)]


def test_a_long_boilerplate_is_one_phrase_and_few_captions_have_none() -> None:
    boilerplate = " ".join(f"w{place}" for place in range(30))
    assert phrases([f"{boilerplate} end{place}" for place in range(12)]) == [(boilerplate, 12)]
    assert phrases(["the same thing"] * 9) == []
    assert phrases([]) == []
