"""What a tracker gets, over a resume too; and the card that goes with a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from PIL import Image

from schemas.run import RunReport
from tests.trainer_client.compare.synthetic_runs import Plan, make_run
from trainer_client import train as training
from trainer_client.config import TrainConfig
from trainer_client.sample import sample
from trainer_client.train import train
from trainer_client.train.model_card import _front_matter, _use, public_name
from trainer_client.train.summary import text_of_run
from trainer_client.train.timing import Clock
from trainer_client.train.trackers import NoTracker, Tracker


def config(folder: Path, snapshot: Path, base: Path, **values: Any) -> TrainConfig:
    (folder / "prompts.txt").write_text("a red fox\n[unrelated] a house\n", encoding="utf-8")
    settings: dict[str, Any] = {
        "captions": "human",
        "epochs": 3,
        "save_epochs": (1,),
        "prompts": folder / "prompts.txt",
        "seeds": (1, 2),
        "sample_steps": 1,
        "eval_timesteps": 1,
        "out": folder / "run",
        "cache": folder / "cache",
    }
    return TrainConfig.of(snapshot=snapshot, base=str(base), **(settings | values))


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "run" / "tensorboard"))
    found.Reload()
    return found


@pytest.mark.slow
def test_tensorboard_has_every_epoch_once_though_the_run_was_cut(
    tmp_path: Path, snapshot: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(tmp_path, snapshot, base)

    def cut(prepared: Any, epoch: int, progress: Any) -> Any:
        if epoch == 3:
            raise KeyboardInterrupt
        return evaluate(prepared, epoch, progress)

    evaluate = training.evaluate
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "evaluate", cut)
        train(asked)
    train(asked)
    report, found = RunReport.read(tmp_path / "run" / "run.json"), events(tmp_path)
    curve = {event.step: event.value for event in found.Scalars("train/loss")}
    assert curve == pytest.approx({record.steps: record.train_loss for record in report.epochs})
    held_out = {event.step for event in found.Scalars("held_out/loss")}
    assert held_out == {0, report.epochs[0].steps, report.epochs[2].steps}
    assert "samples" in found.Tags()["images"]
    assert "learning_rate" in found.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()


@pytest.mark.slow
def test_a_run_killed_between_checkpoints_leaves_no_gap_in_the_curve(
    tmp_path: Path, snapshot: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is ahead of the report then: epochs that it has were told, and those after it are told again."""
    asked = config(tmp_path, snapshot, base, epochs=6, state_every_seconds=0)
    end_epoch = training.Run._end_epoch

    def cut(run: training.Run, epoch: int, clock: Clock) -> None:
        if epoch == 5:
            monkeypatch.setattr(training.Run, "_write", lambda run, status: None)  # As if killed: nothing is written.
            raise KeyboardInterrupt
        end_epoch(run, epoch, clock)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Run, "_end_epoch", cut)
        write = training.Run._write
        train(asked)
    monkeypatch.setattr(training.Run, "_write", write)
    assert len(RunReport.read(tmp_path / "run" / "run.json").epochs) == 1
    train(asked)
    report, found = RunReport.read(tmp_path / "run" / "run.json"), events(tmp_path)
    assert [event.step for event in found.Scalars("train/loss")] == [record.steps for record in report.epochs]


class Failing:
    """A tracker whose service is gone after the first figure."""

    def __init__(self) -> None:
        self.calls = 0

    def log(self, values: Any, step: int) -> None:
        self.calls += 1
        if self.calls > 1:
            raise ConnectionError("no route to host\nand more")

    def finish(self) -> None:
        raise ConnectionError("still none")


@pytest.mark.slow
def test_a_tracker_that_fails_in_the_middle_costs_the_run_nothing(
    tmp_path: Path, snapshot: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, said = Failing(), list[str]()
    monkeypatch.setattr("trainer_client.train.trackers._started", lambda *arguments: failing)
    result = train(
        config(tmp_path, snapshot, base, epochs=6),
        lambda stage, done, total, detail="": said.append(detail) if stage == "tracking" else None,
    )
    assert RunReport.read(tmp_path / "run" / "run.json").status == "complete" and result.epochs == 6
    assert said == ["tensorboard: no route to host; the run goes on, run.json has every figure"]
    assert failing.calls == 1 + 3  # After three failures in a row it is left alone.
    assert "The tracker lacks figures (tensorboard: no route to host); the report has them all." in text_of_run(result)


class Talking:
    """A tracker of accelerate's kind, that prints."""

    made: ClassVar[list[Any]] = []

    def __init__(self, project: str, **settings: Any) -> None:
        self.made.append((project, settings))

    def start(self) -> None:
        print("* a project")

    def store_init_configuration(self, values: dict[str, str]) -> None:
        print("* settings")

    def log(self, values: Any, step: int) -> None:
        print("* figures")

    def finish(self) -> None:
        print("* the end")


def test_runs_are_named_in_one_project_and_what_a_tracker_prints_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Talking)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    reports = [make_run(tmp_path / name, Plan()).model_copy(update={"name": name}) for name in ("a", "b")]
    for report in (*reports, reports[0]):
        tracker = Tracker("wandb", report, tmp_path)
        tracker.epoch(report.epochs[0])
        tracker.finish()
    told = capsys.readouterr()
    assert told.out == "" and "* the end" in told.err and tracker.failure is None
    projects, settings = zip(*Talking.made, strict=True)
    assert set(projects) == {"amatl"} and [each["name"] for each in settings] == ["a", "b", "a"]
    assert settings[0]["id"] == settings[2]["id"] != settings[1]["id"]


@pytest.mark.slow
def test_none_leaves_no_file_and_a_missing_tracker_is_said_before_training(
    tmp_path: Path, snapshot: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer_client.train.trackers.find_spec", lambda name: None if name == "wandb" else True)
    with pytest.raises(NoTracker, match=r"--tracker wandb: wandb isn't installed. `pip install wandb`"):
        train(config(tmp_path, snapshot, base, tracker="wandb"))
    assert not (tmp_path / "run").exists()
    train(config(tmp_path, snapshot, base, tracker="none", epochs=3))
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_names_in_cards_are_public() -> None:
    assert public_name("org/model") == "org/model" and public_name("runs/a/checkpoints/epoch-003").startswith("runs/a/")
    assert public_name("/home/jane/models/anime") == "anime"
    assert public_name("/home/jane/runs/a/checkpoints/epoch-003") == "a/checkpoints/epoch-003"


@pytest.mark.parametrize(
    ("method", "line"),
    [("lora", "pipeline.load_lora_weights("), ("textual-inversion", "pipeline.load_textual_inversion(")],
)
def test_a_card_tells_how_to_draw_with_an_adapter(tmp_path: Path, method: str, line: str) -> None:
    report = make_run(tmp_path / "run", Plan())
    hub = report.model_copy(
        update={
            "base": report.base.model_copy(update={"name": "org/model"}),
            "config": {**report.config, "method": method},
        }
    )
    text = "\n".join((_front_matter(hub), _use(hub)))
    assert yaml.safe_load(text.split("---")[1])["base_model"] == "org/model"
    assert 'from_pretrained("org/model")' in text and line in text


@pytest.mark.slow
def test_a_card_says_what_the_checkpoint_is_made_of(tmp_path: Path, snapshot: Path, base: Path) -> None:
    train(config(tmp_path, snapshot, base, tracker="none", epochs=1))
    report = RunReport.read(tmp_path / "run" / "run.json")
    folder = tmp_path / "run" / report.checkpoints[-1].folder
    text = (folder / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---")[1])
    assert "base_model" not in front and front["library_name"] == "diffusers"
    assert str(base) not in text and f"1. {base.name}: from elsewhere" in text  # A path of this machine is nobody's.
    assert 'DiffusionPipeline.from_pretrained(".")' in text
    for told in (
        report.snapshot.identity,
        report.base.digest,
        "drawn/human@1",
        "CC0-1.0 | 16",
        "held out",
        report.config_digest,
    ):
        assert told in text, told
    assert "Training took 0.0 s" not in text and "Training took 0 " not in text
    with Image.open(folder / "samples.png") as sheet:
        assert sheet.height > 2 * 128
    assert "not yet trained" in (tmp_path / "run" / report.checkpoints[0].folder / "README.md").read_text(
        encoding="utf-8"
    )
    assert sample(tmp_path / "run", [], []).epochs == [1]  # The card is in nobody's way.
