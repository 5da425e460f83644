"""The summary says what the figures carry, and no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from schemas.comparison import Group
from schemas.run import Prompt, Truncation
from tests.trainer_client.compare.synthetic_runs import Plan, make_run, prompts
from trainer_client.compare import compare
from trainer_client.compare.findings import _by_epoch

UNRELATED = [*prompts(2), *(Prompt(text=f"a thing {number}", role="unrelated") for number in range(4))]


def group_of(tmp_path: Path, *plans: Plan) -> Group:
    for number, plan in enumerate(plans):
        make_run(tmp_path / str(number), plan)
    return compare([tmp_path / str(number) for number in range(len(plans))], tmp_path / "r.html").groups[0]


def plan(captions: str, learns: float, relies: float, leaks: float, **more: Any) -> Plan:
    settings: dict[str, Any] = {"prompts": UNRELATED, "held_out": 40, **more}
    return Plan(captions=captions, learns=learns, relies=relies, leaks=leaks, **settings)


def text(group: Group) -> str:
    return "\n".join(group.summary)


def test_loss_that_misleads_is_called_so(tmp_path: Path) -> None:
    group = group_of(
        tmp_path,
        plan("empty", 0.03, 0.008, 0.3, level=0.13),
        plan("template", 0.02, 0.04, 0.1, level=0.17),
        plan("human", 0.02, 0.02, 0.2, level=0.17),
    )
    assert group.headline.startswith("Template captions, 3 epochs or more") and group.chosen == ["template"]
    said = text(group)
    assert "Template follows its words the most" in said
    assert "Empty leaks its style the most" in said and "template least" in said
    assert "Held-out loss alone misleads here: it would choose empty" in said
    assert "it leaks more into unrelated prompts" in said
    assert "The captions of empty are all alike" in said


def test_loss_that_agrees_is_not_called_misleading(tmp_path: Path) -> None:
    group = group_of(tmp_path, plan("template", 0.04, 0.04, 0.1), plan("human", 0.02, 0.02, 0.1))
    assert "misleads" not in text(group) and "puts template first too" in text(group)


def test_what_cannot_be_told_apart_is_said_to_be_so(tmp_path: Path) -> None:
    group = group_of(tmp_path, plan("template", 0.02, 0.03, 0.1), plan("human", 0.02, 0.03, 0.1))
    assert set(group.chosen) == {"template", "human"} and "too close to call" in group.headline
    assert "can't be told apart in how far they follow their words" in text(group)
    assert "the most" not in text(group)


def test_a_run_that_learned_nothing_is_not_the_answer_however_it_relies(tmp_path: Path) -> None:
    group = group_of(tmp_path, plan("template", 0.0, 0.09, 0.0), plan("human", 0.02, 0.02, 0.1))
    assert group.chosen == ["human"]


def test_nothing_learned_at_all(tmp_path: Path) -> None:
    group = group_of(tmp_path, plan("template", -0.02, 0.02, 0.1), plan("human", -0.02, 0.02, 0.1))
    assert group.headline == f"By epoch {group.judged_epoch} nothing was learned that the held-out images show."
    assert "training did harm" in text(group) and group.chosen == []


def test_a_run_that_ignores_its_words_is_not_said_to_rely(tmp_path: Path) -> None:
    group = group_of(tmp_path, plan("template", 0.02, 0.03, 0.1), plan("human", 0.02, 0.0, 0.1, noise=0.01))
    assert "not clearly for human" in text(group) and "Template follows its words the most" in text(group)
    neither = group_of(tmp_path / "n", *(plan(name, 0.02, 0.0, 0.1, noise=0.01) for name in ("template", "human")))
    assert "Whether any run follows its words can't be told" in text(neither)


def test_few_images_are_said_and_tiny_numbers_choose_nothing(tmp_path: Path) -> None:
    some = group_of(tmp_path / "some", plan("template", 0.03, 0.03, 0.1, held_out=10))
    assert "Only 10 held-out images" in text(some)
    tiny = group_of(tmp_path / "tiny", plan("template", 0.03, 0.03, 0.1, held_out=3))
    assert "look at the samples" in tiny.headline


def test_few_pictures_rank_no_leakage(tmp_path: Path) -> None:
    group = group_of(tmp_path, Plan("template", leaks=0.1), Plan("human", leaks=0.3))
    assert "only 2 samples of unrelated prompts, too few to say which leaks more" in text(group)


def test_no_held_out_images(tmp_path: Path) -> None:
    group = group_of(tmp_path, Plan("template", held_out=0), Plan("human", held_out=0))
    assert "No held-out images" in group.headline and "No images were held out" in text(group)
    assert all(run.plateau_epoch is None for run in group.runs)


def test_one_run_is_one_run(tmp_path: Path) -> None:
    group = group_of(tmp_path, plan("template", 0.03, 0.03, 0.1))
    assert "One run only" in text(group) and "the most" not in text(group)
    assert "Template follows its words" in text(group)


def test_interrupted_and_unequal_runs_are_said(tmp_path: Path) -> None:
    stopped = plan("human", 0.02, 0.02, 0.1, epochs=(0, 1), status="interrupted", config={"epochs": 3})
    group = group_of(tmp_path, plan("template", 0.03, 0.03, 0.1), stopped)
    assert "Human was interrupted: 1 epoch so far." in text(group)
    assert "not saved at the same epochs" in text(group)
    assert group.judged_epoch == 1  # the last that both have


def test_a_running_run_with_nothing_evaluated(tmp_path: Path) -> None:
    group = group_of(tmp_path, Plan("template", epochs=(0,), status="running"))
    assert group.headline == "Nothing is trained yet." and "has not finished: 0 epochs so far" in text(group)


def test_cut_captions_are_counted(tmp_path: Path) -> None:
    cut = Truncation(token_limit=77, captions=60, truncated=4)
    assert "4 of 60 captions of human lose words past 77 tokens." in text(
        group_of(tmp_path, plan("human", 0.02, 0.02, 0.1, fields={"truncation": cut}))
    )


def test_a_mix_of_tracks_has_no_words_of_its_own(tmp_path: Path) -> None:
    mixed = group_of(tmp_path, Plan("template:0.5,human:0.5"), Plan("human"))
    assert mixed.runs[0].own_track is None and mixed.runs[0].plateau_epoch is None
    assert mixed.chosen == ["human"]


def test_epochs_cost_money_where_there_is_a_price(tmp_path: Path) -> None:
    report = make_run(tmp_path / "p", Plan("template"))
    priced = report.cost.model_copy(update={"price_per_hour": 36.0})
    group = group_of(tmp_path, Plan("template", fields={"cost": priced}))
    assert "10 s (cost 0.10)" in text(group)


def test_runs_of_an_epoch_are_said_together() -> None:
    epochs = {"empty": 30, "template": 15, "fixed": 30, "human": None}
    assert _by_epoch("from", epochs) == ["from epoch 15 for template", "from epoch 30 for empty and fixed"]


def test_leakage_that_cannot_be_told_apart_gives_every_figure(tmp_path: Path) -> None:
    group = group_of(tmp_path, plan("template", 0.02, 0.03, 0.1), plan("human", 0.02, 0.03, 0.1))
    assert re.search(r"lie 0\.\d+ \(.*?\) from the base's for \w+ and 0\.\d+ for \w+\.", text(group))
