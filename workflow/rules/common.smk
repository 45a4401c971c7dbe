"""What every chapter uses: the parameters a rule depends on, and the first-party code it runs."""

import os

from fsr.allocation import KEPT
from fsr.datasets import locate, lookup, read_registry
from fsr.files import read_json
from fsr.provenance import module_sources


wildcard_constraints:
    access=r"public|private",
    set=r"[A-Za-z0-9_-]+",
    cut=r"f[1-5]",


os.environ.update(KEPT | os.environ)  # of every job; what it brings: benchmarks/allocation.py

REGISTRY = read_registry(ROOT / "data/datasets.csv")


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
    return from_here(*(file for file in sorted(folder.glob("*")) if file.suffix in (".json", ".safetensors", ".pth")))


def access(sets):
    """Whether what is made of the sets may be given to others: private where the licence of one does not allow it."""
    return "public" if all(name in REGISTRY and REGISTRY[name].access == "public" for name in sets) else "private"


def apart(stage):
    """Folders of a stage that DVC tracks apart by access: it wants both to be there, if one is empty."""
    bases = {
        "data": "data/raw/{}",
        "latents": f"data/latents/{{}}/{PARAMS.experiment}",
        "benchmark": f"{RESULTS}/pictures/{{}}",
    }
    return [bases[stage].format(place) for place in ("public", "private")] if stage in bases else []


def raw(sets):
    """Manifests of the named sets."""
    return [f"data/raw/{access([name])}/{name}/manifest.json" for name in sets]


def manifest_of(wildcards):
    """The manifest of the set that a job is about."""
    return raw([wildcards.set])[0]


def source_in_place(name):
    """Where the copy in data/raw came from; None where there is none, or where it only says that there is none."""
    manifest = Path(raw([name])[0])
    return read_json(manifest)["source"] or None if manifest.is_file() else None


def is_at_hand(name):
    """Whether a set is in data/raw, or on this machine to be put there."""
    if source_in_place(name):
        return True
    folders = PARAMS.data.folders
    try:
        return locate(lookup(REGISTRY, name, folders), folders.get(name), PARAMS.data.mirror) is not None
    except (OSError, ValueError) as error:
        raise WorkflowError(str(error)) from None


def is_generated(name):
    """Whether the study makes a set itself: it cannot be fetched, is not elsewhere, and is not left out."""
    if name not in REGISTRY or REGISTRY[name].source != "generated" or name in PARAMS.data.optional:
        return False
    return source_in_place(name) == "generated" or not is_at_hand(name)


def memory(mb, gpus=0):
    """Memory of a job in MB: 4000 more for each GPU, whose libraries need the host's; as much again with each retry."""
    return lambda wildcards, attempt: attempt * (mb + 4000 * gpus)


def memory_of_rows(wildcards, attempt):
    """Memory of a job in MB: of a set enlarged as it is, outputs have `scale` squared times the pixels of paired ones."""
    return memory(4000 * (int(wildcards.scale) ** 2 if wildcards.mode else 1), GPUS)(wildcards, attempt)


def of_every_set(pattern):
    """The pattern's files for every scale and set, paired ones first."""
    return [expand(pattern, mode=mode, set=name, scale=scale)[0] for scale in PARAMS.scales for mode, name in MEASURED]


BASE_ONLY = "base_only/"  # of sets enlarged as they are; paired ones have nothing in its place
MEASURED = [("", name) for name in PARAMS.data.test] + [(BASE_ONLY, name) for name in PARAMS.data.base_only]
GENERATED = [name for name in PARAMS.data.held_back if is_generated(name)]
GPUS = 0 if PARAMS.runtime.device == "cpu" else 1
