"""What every chapter uses: the parameters a rule depends on, and the first-party code it runs."""

import os

from fsr.provenance import module_sources


def sections(*names):
    """The named sections of params, as a rule's own parameters: a change in another section does not rerun it."""
    return {name: config[name] for name in names}


def from_here(*files):
    """Paths relative to the working directory, so that a study may be moved with its metadata."""
    return [os.path.relpath(file) for file in files]


def code(*modules):
    """Source files of `fsr` a rule's script runs, with all they import."""
    return from_here(*module_sources(*modules))


def autoencoder_files():
    """Files of the frozen autoencoder, where they are local."""
    folder = SRC / "autoencoders/embedded" if PARAMS.vae.path == "embedded" else Path(PARAMS.vae.path)
    folder = folder / (PARAMS.vae.subfolder or "")
    return from_here(*(file for file in sorted(folder.glob("*")) if file.suffix in (".json", ".safetensors")))


GPUS = 0 if PARAMS.runtime.device == "cpu" else 1
