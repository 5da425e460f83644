"""The run's config, the options made from it, and what its digest covers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from schemas.errors import BadOption
from trainer_client.cli import main
from trainer_client.config import OPTIONS, PARTS, SECTIONS, TrainConfig, as_resolved_now, decisive_fields
from trainer_client.config.click_options import config_of
from trainer_client.config.methods import options_of_methods
from trainer_client.config.parts import DEFAULT_SAVE_EPOCHS
from trainer_client.train.run_report import config_digest, decisive

GIVEN: dict[str, Any] = {"snapshot": Path("s"), "base": "b", "out": Path("o")}
FROZEN_FLAGS = [
    "--accumulation",
    "--alpha",
    "--auto-batch",
    "--background",
    "--background-weight",
    "--base",
    "--base-config",
    "--batch-size",
    "--beta1",
    "--beta2",
    "--bf16-copy",
    "--buckets",
    "--cache",
    "--caption-dropout",
    "--captions",
    "--class-images",
    "--class-prompt",
    "--clip-norm",
    "--clip-skip",
    "--compile",
    "--cuda-graph",
    "--device",
    "--ema",
    "--ema-decay",
    "--epochs",
    "--epsilon",
    "--eval-batch-size",
    "--eval-images",
    "--eval-timesteps",
    "--flip",
    "--guidance-scale",
    "--initialiser",
    "--instance-prompt",
    "--json",
    "--keep-tags",
    "--learning-rate",
    "--lr",
    "--lr-schedule",
    "--masked-loss",
    "--max-side",
    "--max-tokens",
    "--method",
    "--min-side",
    "--min-snr-gamma",
    "--offset-noise",
    "--out",
    "--patience",
    "--precision",
    "--price-per-hour",
    "--prior-weight",
    "--prompts",
    "--rank",
    "--recipe",
    "--resolution",
    "--revision",
    "--sample-batch-size",
    "--sample-steps",
    "--save-dtype",
    "--save-epochs",
    "--seed",
    "--seeds",
    "--set",
    "--shuffle-tags",
    "--state-every-seconds",
    "--targets",
    "--token",
    "--tracker",
    "--train-text-encoder",
    "--vectors",
    "--warmup-steps",
    "--weight-decay",
    "--zero-terminal-snr",
]


def test_options_of_train_are_what_scripts_rely_on() -> None:
    options = [param for param in main.commands["train"].params if isinstance(param, click.Option)]
    assert sorted(flag for option in options for flag in option.opts) == FROZEN_FLAGS


def test_help_has_every_option_in_a_section_with_its_default() -> None:
    text = CliRunner().invoke(main, ["train", "--help"]).stdout
    sections = [
        "Data and model:",
        "Length:",
        "Samples:",
        "Training:",
        "LoRA:",
        "Subject (dreambooth, lora):",
        "New word (textual-inversion):",
        "Evaluation:",
        "Run:",
        "Output:",
    ]
    assert [line for line in text.splitlines() if line in sections] == sections
    words = " ".join(text.split())
    assert (
        "Snapshot folder written by `curator snapshot`, or its URL: http://HOST/snapshots/DIGEST. [required]" in words
    )
    assert "[default: 1,2,5,15,30,45,60,70,100, up to --epochs]" in words
    assert (
        "Learning rate of AdamW. Defaults suit Stable Diffusion 1.5; full needs 1e-4 on the mini model. "
        "[default: 1e-05 (full), 0.0001 (lora), 5e-06 (dreambooth), 0.005 (textual-inversion)]" in words
    )
    assert "trainer train snapshots/all --captions template" in words


def test_defaults_are_the_models_own() -> None:
    seen: dict[str, Any] = {}
    command = main.commands["train"]
    with command.make_context("train", ["s", "--base", "b", "--out", "o"]) as context:
        seen = {name: value for name, value in context.params.items() if name != "as_json"}
    assert config_of(seen) == TrainConfig.of(**GIVEN)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "--epochs: Input should be greater than or equal to 1."),
        ({"epochs": 3, "save_epochs": (1, 4)}, "--save-epochs 4 is not between 0 and --epochs 3."),
        ({"seeds": (1, 1)}, "--seeds: a seed is given twice."),
        ({"seeds": ()}, "--seeds: give at least one seed, none negative."),
        ({"learning_rate": -1.0}, "--learning-rate: Input should be greater than 0."),
    ],
)
def test_a_bad_value_names_its_option(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption) as caught:
        config_of(GIVEN | values)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--save-epochs", "1,two"], "'1,two' is not a list of whole numbers."),
        (["--lr-schedule", "steep"], "'steep' is not one of"),
        (["--epochs", "0"], "--epochs: Input should be greater than or equal to 1."),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["train", "s", "--base", "b", "--out", "o", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_checkpoint_epochs_are_the_base_those_asked_for_and_the_last() -> None:
    assert TrainConfig.of(**GIVEN, epochs=10).schedule.checkpoint_epochs() == (0, 1, 2, 5, 10)
    assert TrainConfig.of(**GIVEN, epochs=100).schedule.checkpoint_epochs() == (0, *DEFAULT_SAVE_EPOCHS)
    assert TrainConfig.of(**GIVEN, epochs=8, save_epochs=(3, 1, 3)).schedule.checkpoint_epochs() == (0, 1, 3, 8)


def test_the_digest_covers_what_decides_and_not_where_or_how_fast() -> None:
    decisive = set(decisive_fields())
    free = set(OPTIONS) - decisive
    assert free == {
        "snapshot",  # Its identity counts, and the base's digest, and the prompts themselves.
        "auto_batch",
        "tracker",
        "base",
        "base_config",
        "revision",
        "prompts",
        "sample_batch_size",
        "eval_batch_size",
        "out",
        "state_every_seconds",
        "device",
        "cache",
        "cuda_graph",
        "bf16_copy",
        "compile",
        "price_per_hour",
    }


def test_a_missing_option_is_named() -> None:
    result = CliRunner().invoke(main, ["check", "snapshots/all", "--json"])
    assert result.exit_code == 2 and "Missing option '--base'" in result.stderr


def test_a_report_from_before_an_option_existed_has_its_default() -> None:
    config = TrainConfig.of(**GIVEN).flat()
    before = {name: value for name, value in config.items() if name not in ("method", "learning_rate", "ema")}
    assert as_resolved_now(before) == config
    assert as_resolved_now(config | {"ema": True, "gone": 1}) == config | {"ema": True, "gone": 1}


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        ({"method": "full"}, "033af5b81d679ff8bcb32a247152fedeeb8a5162eb96f913642da3489d845c50"),
        ({"method": "lora"}, "2c469502d7f041f77007017126e35c50f91471cf402b45fcfb54d64e5e6bbfbc"),
        ({"method": "dreambooth"}, "a358266edccae2076950db616d5d7261556d5877d210e4a9251395991e684990"),
        ({"method": "textual-inversion"}, "bcb53510bfe57adb91b37aa90c4fe5c50b229536034e50cc1af6eaff75a7419d"),
        (
            {
                "method": "lora",
                "instance_prompt": "a {caption}",
                "class_prompt": "x",
                "rank": 4,
                "seeds": (4, 5),
                "save_epochs": (1, 3),
                "epochs": 9,
                "buckets": True,
                "min_side": 64,
                "clip_skip": 2,
                "flip": True,
            },
            "92009e2317533eb2e16db2b07a5148d3661d1dfc0f62b1d5a08ec21a93667b68",
        ),
    ],
)
def test_the_digest_of_a_configuration_never_changes(options: dict[str, Any], digest: str) -> None:
    """Runs of earlier versions are resumed by it."""
    values = TrainConfig.of(**GIVEN, **options).flat()
    assert TrainConfig.of(**values).flat() == values
    assert config_digest(decisive(values, "0" * 64, "1" * 64, [])) == digest


def test_every_option_stands_in_one_part_and_one_section() -> None:
    in_sections = [name for names in SECTIONS.values() for name in names.split()]
    in_parts = [name for part in PARTS.values() for name in part.model_fields]
    assert sorted(in_sections) == sorted([*in_parts, "method", *options_of_methods()])
