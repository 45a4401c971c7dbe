"""Training the vector field on the latent cache: right, resumable to the bit, in one process or several."""

from fsr.train.job import TrainFiles, TrainJob, launch
from fsr.train.run import Trial, train_field
from fsr.train.schedule import learning_rate_factor, run_key
from fsr.train.trainer import Trainer

__all__ = [
    "TrainFiles",
    "TrainJob",
    "Trainer",
    "Trial",
    "launch",
    "learning_rate_factor",
    "run_key",
    "train_field",
]
