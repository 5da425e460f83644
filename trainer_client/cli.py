"""The `trainer` command: one command a stage. It parses, calls the stage function, shows its result; no logic here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from schemas import __version__
from schemas.edge import Program, catch_errors, json_option, progress_bar, show
from trainer_client.config.click_options import Epochs, GroupedCommand, WholeNumbers, config_of, train_options
from trainer_client.config.recipe import recipe_options


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="trainer")
def main() -> None:
    """Finetune on a snapshot, sample the same seeds at chosen epochs, compare caption strategies."""
    # Read when torch is loaded, later. Threads that wait for each other by spinning made training 15 times slower on
    # two cores that other programs used too (0.4 to 7 images/s against 15 to 23).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@main.command("check", cls=GroupedCommand)
@recipe_options
@train_options(leaving_out=("captions", "out"))  # They have other defaults here.
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Where runs would go, to compare the disk.  [default: .]",
)
@click.option("--captions", help="Count this caption track alone.  [default: all tracks]")
@json_option
@catch_errors
def check_command(as_json: bool, **values: Any) -> None:
    """Verify SNAPSHOT and say what training on it would take: lost words, time, cost, disk. Writes nothing.

    Takes the options of `train`. Every checksum is compared and every image decoded; a few real steps are timed on this
    device. Without --captions all tracks are counted. Exit code 1 if the snapshot, the base or the disk won't do.

    \b
    Example:
      trainer check snapshots/all --base examples/mini/sd --epochs 45 --price-per-hour 0.79
    """
    config = config_of(values)
    from trainer_client.check import check, render

    with progress_bar(as_json) as progress:
        result = check(config, progress)
    show(result, as_json, render)


@main.command("train", cls=GroupedCommand)
@recipe_options
@train_options()
@json_option
@catch_errors
def train_command(as_json: bool, **values: Any) -> None:
    """Finetune a base model on one caption track of SNAPSHOT; save, draw and measure it at chosen epochs.

    An interrupted run goes on where it stopped when the same command is given again. On several GPUs, start it with
    `accelerate launch -m trainer_client train ...` or torchrun: they share the images of each step,
    and with FSDP in accelerate's configuration the weights too.

    \b
    Example:
      trainer train snapshots/all --captions template --base examples/mini/sd --learning-rate 1e-4 \\
          --epochs 45 --save-epochs 1,2,5,15,30,45 --prompts prompts.txt --seeds 1,2,3 --out runs/template
    """
    from trainer_client.rank_zero import errors_printed_once, is_rank_zero

    with errors_printed_once():
        config = config_of(values)
        from trainer_client.train import train
        from trainer_client.train.summary import render

        if not is_rank_zero():
            train(config)
            return
        with progress_bar(as_json) as progress:
            result = train(config, progress)
    show(result, as_json, render)


@main.command("sample")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--epoch",
    "--epochs",
    "epochs",
    type=Epochs(),
    metavar="N,N,...|all",
    default=(),
    help="The checkpoints to draw with, side by side; 0 is the base.  [default: the last]",
)
@click.option("--prompt", "prompts", multiple=True, help="What to draw; may be repeated.  [default: the run's prompts]")
@click.option("--prompts", "file", type=click.Path(path_type=Path), help="Text file of prompts, one a line.")
@click.option("--seeds", type=WholeNumbers(), default=(), help="The same seed is the same noise.  [default: the run's]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the pictures.  [default: RUN/samples/...]")
@click.option("--steps", type=click.IntRange(1, 1000), help="Denoising steps.  [default: the run's]")
@click.option("--guidance-scale", type=click.FloatRange(min=0), help="1 is no guidance.  [default: the run's]")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Pictures at once.")
@click.option("--base", help="Where the base of a LoRA is now.  [default: where it was]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), default="auto", show_default=True)
@click.option(
    "--compile",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Compile the denoiser's blocks; auto: on a GPU, where there is so much to draw that it is earned back.",
)
@json_option
@catch_errors
def sample_command(
    run: Path, prompts: tuple[str, ...], file: Path | None, seeds: tuple[int, ...], as_json: bool, **settings: Any
) -> None:
    """Draw pictures with RUN's checkpoints: a PNG each and a labelled sheet.

    The noise depends on the seed alone, so pictures of one seed can be compared over epochs, runs and prompts.

    \b
    Example:
      trainer sample runs/template --epoch 45 --prompt "openmoji drawing of a fox" --seeds 1,2,3
      trainer sample runs/template --epochs all --prompts new.txt --seeds 1
    """
    if prompts and file:
        raise click.UsageError("Give --prompt or --prompts, not both.")
    from trainer_client.sample import read_prompt_lines, render, sample

    asked = read_prompt_lines(file) if file else list(prompts)
    with progress_bar(as_json) as progress:
        result = sample(run, asked, seeds, progress=progress, **settings)
    show(result, as_json, render)


@main.command("memorisation")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--epoch", type=click.IntRange(min=1), help="The checkpoint to look at.  [default: the last]")
@click.option("--snapshot", type=click.Path(path_type=Path), help="Where the run's snapshot is now, if it moved.")
@click.option(
    "--features",
    default="autoencoder",
    show_default=True,
    help="What pictures are compared by: the base's autoencoder, or an image encoder (CLIP, DINOv2) by name or folder.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@json_option
@catch_errors
def memorisation_command(run: Path, as_json: bool, **settings: Any) -> None:
    """Look for training images among the pictures RUN drew: learned, or learned by heart?

    Every picture of a checkpoint's grid is set beside its nearest training images, by perceptual hash and by features.
    Held-out images say what near means; the base's pictures say what training changed.

    \b
    Example:
      trainer memorisation runs/template --epoch 100
    """
    from trainer_client.memorisation import memorisation, render

    with progress_bar(as_json) as progress:
        result = memorisation(run, progress=progress, **settings)
    show(result, as_json, render)


@main.command("merge")
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN-OR-LORA")
@click.option("--base", help="The model to put it on.  [default: the one it was trained on]")
@click.option("--base-config", help="Folder of the same architecture, for what a base in a single file lacks.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the whole model.")
@click.option("--epoch", type=click.IntRange(min=0), help="The run's checkpoint.  [default: the last]")
@click.option("--strength", type=float, default=1.0, show_default=True, help="How much of a LoRA to add.")
@click.option("--save-dtype", type=click.Choice(["fp16", "fp32"]), default="fp16", show_default=True)
@json_option
@catch_errors
def merge_command(source: Path, as_json: bool, **settings: Any) -> None:
    """Bake a LoRA into its base: a whole model in diffusers layout that needs nothing else.

    RUN-OR-LORA is a run's folder, one of its checkpoints, or a LoRA's .safetensors file, from elsewhere too.

    \b
    Example:
      trainer merge runs/lora --out models/mine
    """
    from trainer_client.merge import merge, render

    with progress_bar(as_json) as progress:
        result = merge(source, progress=progress, **settings)
    show(result, as_json, render)


@main.command("post")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", required=True, metavar="ADDRESS", help="The curator service: http://HOST:PORT.")
@json_option
@catch_errors
def post_command(run: Path, to: str, as_json: bool) -> None:
    """Post RUN's record and grids to the curator service that its snapshot came from.

    There it stands beside the caption versions it was trained on. Again, only what is new goes. The token, where the
    service wants one, is read from AMATL_TOKEN; it needs the scope `write`. `trainer report` is an older name of this.

    \b
    Example:
      trainer post runs/template --to https://lab.example.org
    """
    from trainer_client.post import post, render

    with progress_bar(as_json) as progress:
        result = post(run, to, progress)
    show(result, as_json, render)


main.add_command(
    click.Command("report", None, post_command.callback, post_command.params, post_command.help, hidden=True)
)


@main.command("lineage")
@click.argument("model", metavar="RUN")
@json_option
@catch_errors
def lineage_command(model: str, as_json: bool) -> None:
    """Print which models, data and captions RUN descends from, oldest first.

    RUN is a run's folder, a checkpoint, or any model or LoRA file that this tool made.

    \b
    Example:
      trainer lineage runs/continued
    """
    from trainer_client.lineage import lineage, render

    show(lineage(model), as_json, render)


@main.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--beside", multiple=True, type=click.Path(path_type=Path), help="Folder of runs: a group apart.")
@click.option("--out", type=click.Path(path_type=Path), default="report.html", show_default=True, help="The page.")
@click.option("--unpaired", is_flag=True, help="Allow runs that differ in more than captions; the page says so.")
@json_option
@catch_errors
def compare_command(runs: tuple[Path, ...], beside: tuple[Path, ...], out: Path, unpaired: bool, as_json: bool) -> None:
    """Set runs side by side on the same prompts, seeds and held-out images, in one HTML page that needs nothing else.

    RUN is a folder that `trainer train` wrote. Runs must differ in nothing but their captions and their method.

    \b
    Example:
      trainer compare runs/* --beside examples/study/76 --out report.html
    """
    from trainer_client.compare import compare, in_words

    with progress_bar(as_json) as progress:
        result = compare(runs, out, beside, unpaired, progress)
    show(result, as_json, lambda comparison: in_words(comparison, out))


if __name__ == "__main__":
    main()
