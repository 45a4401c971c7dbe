"""A training job: try the cuts where the probe could not tell, train the better one, write what came of it."""

import gc
from dataclasses import asdict, dataclass

import torch
from diffusers.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME

from fsr.autoencoders import FrozenAutoencoder
from fsr.checkpoint import remove_leftovers, save_tensors
from fsr.files import read_json, write_csv, write_json, write_text
from fsr.images import write_image
from fsr.memory import is_out_of_memory, memory_explained, peak_memory_gib
from fsr.train.field import field_trainer
from fsr.train.job import RunFiles, TrainJob
from fsr.train.tracking import check_tracking
from fsr.train.trainer import Trainer
from fsr.train.validation import averaged

REMEDY = "fsr plan says which parameters of train make a step smaller"


@dataclass(frozen=True)
class Trial:
    """How one of several cuts did after `steps` steps; `status` is "ok" or "oom"."""

    cut: str
    status: str
    steps: int
    reason: str = ""
    validation_rgb_l1: float | None = None


def train_field(job: TrainJob, autoencoder: FrozenAutoencoder) -> None:
    """Train the field at the best of the job's cuts and write its files.

    Where there are several candidates and `train.trial_steps` is not 0, each is trained that long; the one with the
    lowest RGB L1 on held-out crops goes on from there, exactly as if it had been the only one.

    Raises:
        FloatingPointError: too many steps in a row were not finite.
        MemoryError: the cut, or every candidate, ran out of memory.
        ValueError: no such cut, or a checkpoint of another model in the work folder.
        OSError: a file cannot be written; the last checkpoint is intact.
    """
    check_tracking(job.params.tracking)
    torch.set_num_threads(job.threads)
    train = job.params.train
    candidates, trials = job.candidates, []
    if len(candidates) > 1 and train.trial_steps:
        trials = [try_cut(job, cut, autoencoder) for cut in candidates]
        cut = best_of(trials)
    else:
        cut = candidates[0]
    trainer = field_trainer(job.params, cut, job.manifest, autoencoder, job.files.work)
    with memory_explained(f"training at {cut}", REMEDY):
        trainer.run(train.steps)
    if trainer.accelerator.is_main_process:
        remove_leftovers(job.files.cut.parent, job.files.cut.stem)
        decided = {"cut": cut, "decided_by": "trial" if trials else job.decided_by}
        write_json(job.files.cut, decided | {"trials": [asdict(trial) for trial in trials]})
        export(trainer, job.files)
    trainer.accelerator.end_training()


def try_cut(job: TrainJob, cut: str, autoencoder: FrozenAutoencoder) -> Trial:
    """The first steps of a run at one cut; its checkpoint stays. Running out of memory is a result, not an error.

    What came of it is noted beside the checkpoint, so that an interrupted job decides as it did, however far the winner
    has gone since. A cut that ran out of memory is tried again.

    Raises:
        MemoryError: one of several processes ran out of memory; the others cannot go on without it.
    """
    steps = min(job.params.train.trial_steps, job.params.train.steps)
    try:
        trainer = field_trainer(job.params, cut, job.manifest, autoencoder, job.files.work)
        note = trainer.folder / f"trial-{steps}.json"
        if note.is_file():
            return Trial(**read_json(note))
        if trainer.step > steps:  # an earlier job went further; what it was at the trial's end is made again
            trainer = field_trainer(job.params, cut, job.manifest, autoencoder, job.files.work / "trials")
        trainer.run(steps)
        with averaged(trainer.model, trainer.ema) as field:
            found = trainer.recipe.validator.measure(field)
        trial = Trial(cut, "ok", trainer.step, validation_rgb_l1=found.rgb_l1)
        if trainer.accelerator.is_main_process:
            write_json(note, asdict(trial))
        return trial
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if job.params.train.processes > 1:
            raise MemoryError(f"the trial of {cut} ran out of memory; set train.cut to another, or {REMEDY}") from error
        return Trial(cut, "oom", steps, str(error).splitlines()[0] if str(error) else "out of memory")
    finally:
        trainer = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def best_of(trials: list[Trial]) -> str:
    """The cut whose trial ended with the lowest RGB L1.

    Raises:
        MemoryError: all ran out of memory.
    """
    usable = [trial for trial in trials if trial.status == "ok"]
    if not usable:
        listed = "; ".join(f"{trial.cut}: {trial.reason}" for trial in trials)
        raise MemoryError(f"no cut fits into memory ({listed}); {REMEDY}")
    return min(usable, key=lambda trial: trial.validation_rgb_l1).cut


def export(trainer: Trainer, files: RunFiles) -> None:
    """Write the averaged model as diffusers' `from_pretrained` reads it, the log, the grid and what the run cost."""
    config, weights = files.model / CONFIG_NAME, files.model / SAFETENSORS_WEIGHTS_NAME
    for path in (config, weights, files.log, files.grid, files.runtime):
        remove_leftovers(path.parent, path.stem)
    write_csv(files.log, trainer.log.rows)
    with averaged(trainer.model, trainer.ema) as model:
        write_image(files.grid, trainer.recipe.grid(model))
        write_text(config, model.to_json_string())
        save_tensors(weights, model.state_dict(), {"format": "pt"})
    write_json(files.runtime, trainer.cost() | {"peak_memory_gib": peak_memory_gib(trainer.device)})
