"""Training the vector field on the latent cache: right, resumable to the bit, in one process or several."""

from fsr.train.field import FieldRecipe, field_trainer
from fsr.train.job import RunFiles, TrainFiles, TrainJob, launch
from fsr.train.run import Trial, export, train_field
from fsr.train.schedule import learning_rate_factor, run_key
from fsr.train.trainer import Trainer

__all__ = [
    "FieldRecipe",
    "RunFiles",
    "TrainFiles",
    "TrainJob",
    "Trainer",
    "Trial",
    "export",
    "field_trainer",
    "launch",
    "learning_rate_factor",
    "run_key",
    "train_field",
]
