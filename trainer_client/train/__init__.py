"""The training run: epochs, checkpoints with pictures and losses, a report, a state to resume from.

A run's folder can be killed at any moment. Order of writing at a checkpoint epoch: resume state, model folder, grid,
report; so what the report lists is there, and what it doesn't list yet is made again from the state.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext, suppress
from typing import Literal

import torch
from torch import Tensor

from schemas.document import now
from schemas.edge.words import duration, money
from schemas.errors import AmatlError
from schemas.progress import TO_THE_END, Progress, silent
from schemas.run import Checkpoint, EpochRecord, RunReport
from trainer_client import lineage
from trainer_client.config import TrainConfig
from trainer_client.data.batches import epoch_steps
from trainer_client.distributed.processes import Processes
from trainer_client.performance import torch_compile
from trainer_client.run_folder import FILE, read_record
from trainer_client.train.assess_checkpoint import draw, evaluate, tiles, write_references
from trainer_client.train.checkpoint import checkpoint_name, save_checkpoint
from trainer_client.train.early_stopping import judge, out_of_patience
from trainer_client.train.errors import in_words
from trainer_client.train.model_card import write_card
from trainer_client.train.preparation import Prepared, encode, prepare
from trainer_client.train.resume_state import Position, RunBusy, load_state, only_trainer, remove_state, save_state
from trainer_client.train.stop_signals import StopRequest
from trainer_client.train.summary import TrainResult, outcome
from trainer_client.train.timing import Clock, Ledger
from trainer_client.train.trackers import Tracker
from trainer_client.train.train_step import Learner

LOOK_EVERY_SECONDS = 1.0  # How often the loop waits for the device, to show and check the loss.


class NotFinite(AmatlError):
    """The loss is no number any more. Lower the learning rate."""


def train(config: TrainConfig, progress: Progress = silent) -> TrainResult:
    """Trains as `config` says, or goes on with the run that was interrupted in its folder.

    Raises what the checks raise before any training; NotFinite, NotSaved, NotEnoughMemory, ProcessLost, OtherRun,
    RunBusy; KeyboardInterrupt after the state is saved.
    """
    with StopRequest() as stop:

        def watched(stage: str, done: int, total: int | None, detail: str = "") -> None:
            stop.check()
            progress(stage, done, total, detail)

        processes = Processes(config)
        device = processes.device(config.hardware.device)
        ledger = Ledger(config.hardware.price_per_hour)
        with ledger.timed("preparing"):
            prepared = prepare(config, watched, device)
            processes.wait()  # None may change the folder before all have looked at it.
        if isinstance(prepared, RunReport):
            if processes.is_rank_zero:
                remove_state(config.output.out)  # A kill between the last report and this left it.
            return outcome(prepared, config.output.out, was_complete=True)
        with only_trainer(config.output.out) if processes.is_rank_zero else nullcontext():
            if processes.is_rank_zero:
                _refuse_stale(prepared)
            run = Run(prepared, processes, ledger, stop, progress, watched)
            with in_words(prepared, ledger, processes):
                run.go()
        return outcome(run.report, config.output.out, resumed=run.resumed, tracker_failure=run.tracker.failure)


def _refuse_stale(prepared: Prepared) -> None:
    """Raises RunBusy where another process has trained in the folder between the first look at it and the lock."""
    folder = prepared.config.output.out
    if read_record(folder) != prepared.before:
        raise RunBusy(f"{folder}: another process has just trained there. Give the command again to go on from that.")


class Run:
    """One run while it goes on. `watched` may raise KeyboardInterrupt; `progress` never does."""

    def __init__(
        self,
        prepared: Prepared,
        processes: Processes,
        ledger: Ledger,
        stop: StopRequest,
        progress: Progress,
        watched: Progress,
    ) -> None:
        self.processes = processes
        self.prepared, self.ledger, self.stop, self.progress, self.watched = prepared, ledger, stop, progress, watched
        self.config, self.family, self.plan, self.folder = (
            prepared.config,
            prepared.family,
            prepared.plan,
            prepared.config.output.out,
        )
        self.position = Position(config_digest=prepared.report.config_digest, cost=prepared.report.cost)
        self.saved_at = time.monotonic()
        self.resumed = False
        self.tracker = Tracker("none", self.report, self.folder)  # Begun when everything else is ready.

    @property
    def report(self) -> RunReport:
        """As written last."""
        return self.prepared.report

    def go(self) -> None:
        """The whole run. Leaves the report as `interrupted` whenever it ends early."""
        before = self.report.cost
        try:
            with self.ledger.timed("preparing"):
                with self.processes.rank_zero_first():
                    encode(self.prepared, self.watched)
                self.learner = Learner(
                    self.prepared.method, self.config, self.plan, self.processes, self.prepared.compiled
                )
                self._restore()
                if self.learner.blocks is not None:
                    some = next(epoch_steps(self.family, self.prepared.data, self.plan, 1))
                    self.learner.compile(self.prepared.data, some, self.watched)
                    if self.processes.is_rank_zero:
                        torch_compile.TRAINING.remember(self.prepared.cache, self.prepared.compiling)
            self.ledger.carry_over(before, self.position.cost)
            self._write("running")  # First of all files: by it the folder is known for a run's.
            if self.processes.is_rank_zero:
                self._begin_files()
            self._write("running")
            self._train()
            self._write("complete")
        except BaseException:
            with suppress(OSError):  # A full disk must not hide why the run ends.
                self._write("interrupted")
            raise
        finally:
            self.tracker.finish()
        if self.processes.is_rank_zero:
            remove_state(self.folder)

    def _begin_files(self) -> None:
        for leftover in self.folder.glob(".*.tmp"):
            leftover.unlink()
        told = {"references": write_references(self.prepared), "epochs": self.position.epochs}
        self.prepared.report = self.report.model_copy(update=told)
        self.tracker = Tracker(self.config.output.tracker, self.report, self.folder, self.progress)

    def _train(self) -> None:
        to_save = set(self.config.schedule.checkpoint_epochs())
        for epoch in range(self.position.epochs_done, self.config.schedule.epochs + 1):
            if epoch > self.position.epochs_done and self._out_of_patience():
                return
            if epoch > self.position.epochs_done:
                self._train_epoch(epoch)
            if epoch in to_save and all(checkpoint.epoch != epoch for checkpoint in self.report.checkpoints):
                self._checkpoint(epoch)

    def _out_of_patience(self) -> bool:
        """The first process has measured, and so decides."""
        return self.processes.any(
            self.processes.is_rank_zero and out_of_patience(self.report, self.config.evaluation.patience)
        )

    def _write(self, status: Literal["running", "interrupted", "complete"]) -> None:
        stopped_early = status == "complete" and self.position.epochs_done < self.config.schedule.epochs
        self.prepared.report = self.report.model_copy(
            update={
                "status": status,
                "updated_at": now(),
                "epochs": self.position.epochs,
                "cost": self.ledger.cost(),
                "stopping": judge(self.report, stopped_early),
            }
        )
        if self.processes.is_rank_zero:
            self.report.write(self.folder / FILE)

    # Training

    def _train_epoch(self, epoch: int) -> None:
        """Trains what is left of an epoch and records it."""
        first, last = self.position.steps_done, self.plan.steps_per_epoch
        loss_sum = torch.tensor(self.position.loss_sum, dtype=torch.float64, device=self.family.device)
        clock = Clock(self.position.epoch_seconds)
        looked = time.monotonic()
        steps = epoch_steps(self.family, self.prepared.data, self.plan, epoch, first)
        for step, drawn in enumerate(steps, start=first + 1):
            loss_sum += self.learner.learn(self.prepared.data, drawn)
            now = time.monotonic()
            due = self.processes.any(self.stop.asked or now - self.saved_at >= self.config.output.state_every_seconds)
            if due or step == last or now - looked >= LOOK_EVERY_SECONDS:
                looked = now
                self._look(epoch, step, loss_sum, clock)
            if due and step < last:
                self._save_state(clock)
        self._end_epoch(epoch, clock)
        passed = time.monotonic() - self.saved_at
        if self.processes.any(self.stop.asked or passed >= self.config.output.state_every_seconds):
            self._save_state(Clock())

    def _look(self, epoch: int, step: int, loss_sum: Tensor, clock: Clock) -> None:
        """Waits for the device, refuses to go on without numbers, and says how far the run is."""
        total = float(loss_sum)
        self.ledger.seconds["training"] += clock.lap()
        if not (math.isfinite(total) and bool(self.learner.finite)):
            raise NotFinite(self._not_finite(epoch, step))
        self.position = self.position.model_copy(update={"steps_done": step, "loss_sum": total})
        images = min(step * self.plan.images_per_step, self.plan.images)
        rate = images / clock.seconds
        detail = f"epoch {epoch}/{self.config.schedule.epochs}, loss {total / images:.4f}, {rate:.3g} images/s"
        if self.learner.lowered:
            detail += f", {self.learner.images_at_once} at once"
        done = (epoch - 1) * self.plan.images + images
        left = self._left(epoch, self.config.schedule.epochs * self.plan.images - done, rate)
        self.progress("training", done, self.config.schedule.epochs * self.plan.images, f"{detail}, {left}")

    def _left(self, epoch: int, images: int, rate: float) -> str:
        """Time, and money where there is a price, still to be spent at the pace so far."""
        paces = [checkpoint.sampling_seconds + checkpoint.evaluating_seconds for checkpoint in self.report.checkpoints]
        checkpoints = sum(later >= epoch for later in self.config.schedule.checkpoint_epochs())
        seconds = images / rate + max(paces, default=0.0) * checkpoints
        spent, in_all = self.ledger.money(), self.ledger.money(seconds)
        bill = f" (cost {money(spent)} of {money(in_all)})" if spent is not None and in_all is not None else ""
        so_far = duration(sum(self.ledger.seconds.values()))
        return f"{so_far} so far, {duration(seconds)} {TO_THE_END}{bill}"

    def _not_finite(self, epoch: int, step: int) -> str:
        kept = max((checkpoint.epoch for checkpoint in self.report.checkpoints), default=0)
        advice = "" if self.config.optimiser.clip_norm else " and --clip-norm 1"
        return (
            f"{self.folder}: the loss is no number at epoch {epoch}, step {step}; checkpoint {kept} is kept."
            f" Train into another --out with --learning-rate below {self.config.method.learning_rate:g}{advice}."
        )

    def _end_epoch(self, epoch: int, clock: Clock) -> None:
        done = EpochRecord(
            epoch=epoch,
            steps=self.learner.step,
            train_loss=self.position.loss_sum / self.plan.images,
            learning_rate=self.learner.rate(self.learner.step - 1),
            seconds=clock.seconds,
            images_per_second=self.plan.images / clock.seconds,
        )
        self.tracker.epoch(done)
        begun = {"steps_done": 0, "loss_sum": 0.0, "epoch_seconds": 0.0}
        self.position = self.position.model_copy(
            update={"epochs_done": epoch, "epochs": [*self.position.epochs, done], **begun}
        )

    # Resuming

    def _restore(self) -> None:
        """Takes position and weights from the resume state, where there is one."""
        found = load_state(self.folder, "cpu" if self.processes.sharded else str(self.family.device))
        if found is None or found[0].config_digest != self.report.config_digest:
            return
        self.position, tensors = found
        done = self.position.epochs_done * self.plan.steps_per_epoch + self.position.steps_done
        self.learner.restore(tensors, done)
        if self.config.optimiser.auto_batch and self.position.images_at_once is not None:
            self.learner.images_at_once = min(self.position.images_at_once, self.config.optimiser.batch_size)
        self.resumed = True

    def _save_state(self, clock: Clock) -> None:
        """Saves the state, outside the epoch's time; ends the run here if a stop was asked for."""
        if self.stop.asked:
            self.progress("stopping", 0, 1, "saving the state")
        with self.ledger.timed("preparing"):
            now_true = {
                "epoch_seconds": clock.seconds if self.position.steps_done else 0.0,
                "cost": self.ledger.cost(),
                "images_at_once": self.learner.images_at_once if self.learner.lowered else None,
            }
            self.position = self.position.model_copy(update=now_true)
            tensors = self.learner.tensors()
            if self.processes.is_rank_zero:
                save_state(self.folder, self.position, tensors)
        clock.start()
        self.saved_at = time.monotonic()
        if self.processes.any(self.stop.asked):
            raise KeyboardInterrupt

    # Checkpoints

    def _checkpoint(self, epoch: int) -> None:
        """Saves, draws and measures the model as it is; the report lists it when all of it is there."""
        if epoch:
            self._save_state(Clock())
        with self.learner.averaged(), self.processes.gathered_weights():
            if self.processes.is_rank_zero:
                self._write_checkpoint(epoch)
            else:
                self.prepared.report = self.report.model_copy(
                    update={"checkpoints": [*self.report.checkpoints, _elsewhere(epoch)]}
                )
            self.processes.wait()

    def _write_checkpoint(self, epoch: int) -> None:
        with self.ledger.timed("preparing"):
            name = self._save_model(epoch)
        with self.ledger.timed("sampling") as sampling:
            grid = draw(self.prepared, epoch, self.watched)
        with self.ledger.timed("evaluating") as evaluating:
            evaluation = evaluate(self.prepared, epoch, self.watched)
        listed = Checkpoint(
            epoch=epoch,
            folder=name,
            saved_at=now(),
            grid=grid,
            evaluation=evaluation,
            sampling_seconds=sampling.seconds,
            evaluating_seconds=evaluating.seconds,
        )
        so_far = {"checkpoints": [*self.report.checkpoints, listed], "epochs": self.position.epochs}
        self.prepared.report = self.report.model_copy(update=so_far)
        write_card(self.folder / name, self.report, self.prepared.snapshot.manifest, epoch, tiles(self.prepared, epoch))
        self.tracker.checkpoint(self.report, listed, self.learner.step, self.folder)
        self._write("running")

    def _save_model(self, epoch: int) -> str:
        """Saves the checkpoint's folder; returns its name in the run's folder."""
        facts = {
            "run": self.report.name,
            "snapshot": self.report.snapshot.identity,
            "captions": self.report.captions,
            "images": str(self.report.snapshot.train_images),
            "method": self.config.method.name,
            "base": self.report.base.digest,
            "base_name": self.report.base.name,
            "epoch": str(epoch),
            "config": self.report.config_digest,
            **{name: str(value) for name, value in self.family.conventions.non_defaults().items()},
        }
        epochs = self.config.schedule.checkpoint_epochs()
        self.watched("saving", epochs.index(epoch), len(epochs), f"epoch {epoch}")
        folder = save_checkpoint(
            self.prepared.method,
            self.folder,
            epoch,
            self.config.output.save_dtype,
            lineage.metadata(self.report.lineage, **facts),
        )
        self.watched("saving", epochs.index(epoch) + 1, len(epochs), f"epoch {epoch}")
        return folder.relative_to(self.folder).as_posix()


def _elsewhere(epoch: int) -> Checkpoint:
    """A checkpoint as the processes know it that don't write it."""
    return Checkpoint(
        epoch=epoch,
        folder=checkpoint_name(epoch),
        saved_at=now(),
        grid=None,
        evaluation=None,
        sampling_seconds=0.0,
        evaluating_seconds=0.0,
    )
