"""The `trainer` command: parse options, call the stage's function, show its result."""

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
    # Read when torch is imported. Spinning threads made training 15 times slower on two cores shared with other
    # programs (0.4 to 7 images/s against 15 to 23).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@main.command("check", cls=GroupedCommand)
@recipe_options
@train_options(leaving_out=("captions", "out"))  # They have other defaults here.
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder for runs, to check its free space.  [default: .]",
)
@click.option("--captions", help="Count this caption track alone.  [default: all tracks]")
@json_option
@catch_errors
def check_command(as_json: bool, **values: Any) -> None:
    """Verify SNAPSHOT and estimate training on it: lost words, time, cost, disk. Writes nothing.

    Takes the options of `train`. Verifies every checksum, decodes every image and times a few real steps on this
    device. Without --captions all tracks are counted. Exit code 1 if snapshot, base or disk can't be used.

    \b
    Example:
      trainer check snapshots/all --base examples/mini/sd --epochs 45 --price-per-hour 0.79
    """
    config = config_of(values)
    from trainer_client.check import check, text_of_check

    with progress_bar(as_json) as progress:
        result = check(config, progress)
    show(result, as_json, text_of_check)


@main.command("train", cls=GroupedCommand)
@recipe_options
@train_options()
@json_option
@catch_errors
def train_command(as_json: bool, **values: Any) -> None:
    """Finetune a base model on one caption track of SNAPSHOT; save, sample and evaluate it at chosen epochs.

    Run the same command again to resume an interrupted run. On several GPUs, start it with
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
        from trainer_client.train.summary import text_of_run

        if not is_rank_zero():
            train(config)
            return
        with progress_bar(as_json) as progress:
            result = train(config, progress)
    show(result, as_json, text_of_run)


@main.command("sample")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--epoch",
    "--epochs",
    "epochs",
    type=Epochs(),
    metavar="N,N,...|all",
    default=(),
    help="The checkpoints to sample from; 0 is the base.  [default: the last]",
)
@click.option("--prompt", "prompts", multiple=True, help="A prompt; may be repeated.  [default: the run's prompts]")
@click.option("--prompts", "file", type=click.Path(path_type=Path), help="Text file of prompts, one a line.")
@click.option("--seeds", type=WholeNumbers(), default=(), help="The same seed is the same noise.  [default: the run's]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the samples.  [default: RUN/samples/...]")
@click.option("--steps", type=click.IntRange(1, 1000), help="Denoising steps.  [default: the run's]")
@click.option("--guidance-scale", type=click.FloatRange(min=0), help="1 is no guidance.  [default: the run's]")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Images per batch.")
@click.option("--base", help="The LoRA's base, if it moved.  [default: its path in training]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), default="auto", show_default=True)
@click.option(
    "--compile",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Compile the denoiser's blocks; auto: on a GPU, if there are enough samples to save time.",
)
@json_option
@catch_errors
def sample_command(
    run: Path, prompts: tuple[str, ...], file: Path | None, seeds: tuple[int, ...], as_json: bool, **settings: Any
) -> None:
    """Sample from RUN's checkpoints: a PNG each and a contact sheet.

    The noise depends on the seed alone, so samples of one seed can be compared over epochs, runs and prompts.

    \b
    Example:
      trainer sample runs/template --epoch 45 --prompt "openmoji drawing of a fox" --seeds 1,2,3
      trainer sample runs/template --epochs all --prompts new.txt --seeds 1
    """
    if prompts and file:
        raise click.UsageError("Give --prompt or --prompts, not both.")
    from trainer_client.sample import read_prompt_lines, sample, text_of_samples

    asked = read_prompt_lines(file) if file else list(prompts)
    with progress_bar(as_json) as progress:
        result = sample(run, asked, seeds, progress=progress, **settings)
    show(result, as_json, text_of_samples)


@main.command("memorisation")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--epoch", type=click.IntRange(min=1), help="The checkpoint to check.  [default: the last]")
@click.option("--snapshot", type=click.Path(path_type=Path), help="The run's snapshot, if it moved.")
@click.option(
    "--features",
    default="autoencoder",
    show_default=True,
    help="Features to compare by: the base's autoencoder, or an image encoder (CLIP, DINOv2) by name or folder.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@json_option
@catch_errors
def memorisation_command(run: Path, as_json: bool, **settings: Any) -> None:
    """Look for memorised training images among RUN's samples.

    Compares each sample of a checkpoint with the training images, by perceptual hash and by features. Distances of
    held-out images and of the base's samples are the reference.

    \b
    Example:
      trainer memorisation runs/template --epoch 100
    """
    from trainer_client.memorisation import memorisation, text_of_memorisation

    with progress_bar(as_json) as progress:
        result = memorisation(run, progress=progress, **settings)
    show(result, as_json, text_of_memorisation)


@main.command("merge")
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN-OR-LORA")
@click.option("--base", help="The base to merge into.  [default: the one it was trained on]")
@click.option("--base-config", help="Folder of the same architecture, if the base is a single file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the merged model.")
@click.option("--epoch", type=click.IntRange(min=0), help="The run's checkpoint.  [default: the last]")
@click.option("--strength", type=float, default=1.0, show_default=True, help="Scale of the LoRA.")
@click.option("--save-dtype", type=click.Choice(["fp16", "fp32"]), default="fp16", show_default=True)
@json_option
@catch_errors
def merge_command(source: Path, as_json: bool, **settings: Any) -> None:
    """Merge a LoRA into its base: a complete model in diffusers layout.

    RUN-OR-LORA is a run's folder, one of its checkpoints, or any LoRA's .safetensors file.

    \b
    Example:
      trainer merge runs/lora --out models/mine
    """
    from trainer_client.merge import merge, text_of_merge

    with progress_bar(as_json) as progress:
        result = merge(source, progress=progress, **settings)
    show(result, as_json, text_of_merge)


@main.command("post")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", required=True, metavar="ADDRESS", help="The curator service: http://HOST:PORT.")
@json_option
@catch_errors
def post_command(run: Path, to: str, as_json: bool) -> None:
    """Post RUN's record and sample grids to the curator service of its snapshot.

    The service shows them beside the run's caption versions. Posting again sends only what is new. A token, if the
    service requires one, is read from AMATL_TOKEN; it needs the scope `write`. `trainer report` is the older name.

    \b
    Example:
      trainer post runs/template --to https://lab.example.org
    """
    from trainer_client.post import post, text_of_post

    with progress_bar(as_json) as progress:
        result = post(run, to, progress)
    show(result, as_json, text_of_post)


main.add_command(
    click.Command("report", None, post_command.callback, post_command.params, post_command.help, hidden=True)
)


@main.command("lineage")
@click.argument("model", metavar="RUN")
@json_option
@catch_errors
def lineage_command(model: str, as_json: bool) -> None:
    """Print the models, data and captions that RUN was trained from, oldest first.

    RUN is a run's folder, a checkpoint, or any model or LoRA file that this tool made.

    \b
    Example:
      trainer lineage runs/continued
    """
    from trainer_client.lineage import lineage, text_of_lineage

    show(lineage(model), as_json, text_of_lineage)


@main.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--beside", multiple=True, type=click.Path(path_type=Path), help="Folder of runs to show as a separate group."
)
@click.option("--out", type=click.Path(path_type=Path), default="report.html", show_default=True, help="The page.")
@click.option("--unpaired", is_flag=True, help="Allow runs that differ in more than captions; the page says so.")
@json_option
@catch_errors
def compare_command(runs: tuple[Path, ...], beside: tuple[Path, ...], out: Path, unpaired: bool, as_json: bool) -> None:
    """Compare runs on the same prompts, seeds and held-out images, in one self-contained HTML page.

    RUN is a folder that `trainer train` wrote. Runs must differ in nothing but their captions and their method.

    \b
    Example:
      trainer compare runs/* --beside examples/study/76 --out report.html
    """
    from trainer_client.compare import compare, text_of_comparison

    with progress_bar(as_json) as progress:
        result = compare(runs, out, beside, unpaired, progress)
    show(result, as_json, lambda comparison: text_of_comparison(comparison, out))


if __name__ == "__main__":
    main()
