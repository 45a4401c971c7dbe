"""Where an image set is: a folder given for it, an installed package, a mirror, or its public source.

In this order; a mirror holds it as `<mirror>/datasets/<name>/...` and is checked against its MANIFEST.sha256.
"""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

from fsr.archives import unpack_images
from fsr.config import Data, Params
from fsr.datasets import Dataset, Found, find, found_in, materialise, note_absence, verify
from fsr.downloads import download, download_from_hub
from fsr.files import read_json, write_atomically
from fsr.generate import PUBLISHED_PROMPTS_URL, generate_set
from fsr.layouts import find_layout
from fsr.prompts import read_prompts

BESIDE = (("latents", ".safetensors"), ("prompts", ".txt"))  # of each generated image
UNPACKED_TO_PACKED = 4  # the most an archive of images may grow; images are compressed already


def obtain(dataset: Dataset, manifest: Path, data: Data, work: Path) -> None:
    """Put the checked set and its manifest in place, or the note that the study goes on without it (data.optional).

    Args:
        work: where downloads are kept, to go on from and to use again.

    Raises:
        FileNotFoundError: it is nowhere and cannot be fetched; says how to obtain it.
        ValueError: it is there with other content than registered.
    """
    found = find(dataset, data.folders.get(dataset.name), data.mirror)
    exclude = tuple(data.exclude.get(dataset.name, ()))
    if found is not None:
        materialise(dataset, found, manifest, exclude)
    elif dataset.name in data.optional:
        note_absence(dataset, manifest, how_to_obtain(dataset))
    else:
        materialise(dataset, fetch(dataset, work), manifest, exclude)
        shutil.rmtree(unpacking_folder(dataset, work))


def fetch(dataset: Dataset, work: Path) -> Found:
    """The set from its public source, unpacked below `work`; what was downloaded before is not downloaded again.

    Raises:
        FileNotFoundError: it may not or cannot be fetched; says how to obtain it.
        OSError: `work` cannot be written, or the disk is full; says what to do.
        ValueError: what came is not what is registered.
    """
    if dataset.source not in ("hub", "http"):
        raise FileNotFoundError(how_to_obtain(dataset))
    try:
        archive = _fetch_archive(dataset, work)
    except (FileNotFoundError, PermissionError, ConnectionError) as error:
        if error.errno is not None:  # of this machine's files, not of the source
            raise
        raise FileNotFoundError(f"{error}. {how_to_obtain(dataset)}") from error
    unpacked = unpacking_folder(dataset, work)
    shutil.rmtree(unpacked, ignore_errors=True)  # what a killed run left
    unpack_images(archive, unpacked, limit_bytes=UNPACKED_TO_PACKED * archive.stat().st_size)
    layout = find_layout(unpacked, (dataset.name, *dataset.aliases), dataset.parts)
    if layout is None:
        raise ValueError(f"{archive} holds no images of {dataset.name} in a known layout; {how_to_obtain(dataset)}")
    return replace(found_in(dataset, layout, "download"), archive=archive)


def _fetch_archive(dataset: Dataset, work: Path) -> Path:
    known = {"sha256": dataset.sha256 or None, "size": dataset.bytes or None}
    (place,) = dataset.location
    if dataset.source == "hub":
        repository, _, file = place.partition(":")
        return download_from_hub(repository, file, **known)
    return download(place, work / dataset.name / Path(place).name, **known)


def how_to_obtain(dataset: Dataset) -> str:
    """What to do for a set that is not at hand."""
    never = " and is never fetched" if dataset.source == "manual" else ""
    return (
        f"dataset {dataset.name} is not at hand{never}: {dataset.by_hand} Then set data.folders.{dataset.name} to its "
        "folder, or FSR_MIRROR (or data.mirror) to a mirror that holds it"
    )


def generate(dataset: Dataset, params: Params, manifest: Path, work: Path) -> None:
    """Generate the set (section `generate`) and put it in place with its latents and prompts; resumes image by image.

    Args:
        work: where images are kept while the set is not whole.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError: the model or the prompts cannot be had.
        OSError: memory is short, or a folder cannot be written.
        FloatingPointError: a latent is not finite.
        ValueError: the prompts are of another form or number.
    """
    own, records = params.generate.prompts, work / dataset.name
    prompts = read_prompts(own or download(PUBLISHED_PROMPTS_URL, work / "prompts.csv", sha256=None, size=None))
    expected = replace(dataset, images=len(prompts)) if own else dataset
    if len(prompts) != expected.images:
        raise ValueError(
            f"{PUBLISHED_PROMPTS_URL} has {len(prompts)} prompts, not {expected.images}; it changed: report it"
        )
    generate_set(params.generate, prompts, records, seed=params.seed, device=params.runtime.device)
    names = [image["name"] for image in read_json(records / "generation.json")["images"]]
    beside = [f"{part}/{name}{suffix}" for part, suffix in BESIDE for name in names]
    for file in (*beside, "generation.json"):
        write_atomically(manifest.parent / file, partial(shutil.copyfile, records / file))
    found = Found({name: records / f"{name}.png" for name in names}, "generated", "own prompts" if own else "")
    materialise(expected, found, manifest)


def checked_files(dataset: Dataset, mirror: str | None) -> list[Path]:
    """The files of a set on this machine, verified, by name.

    Raises:
        FileNotFoundError: it is not on this machine; says how to obtain it.
        ValueError: it has other content than registered.
    """
    found = find(dataset, mirror=mirror)
    if found is None:
        raise FileNotFoundError(how_to_obtain(dataset))
    verify(dataset, found)
    return list(found.files.values())


def unpacking_folder(dataset: Dataset, work: Path) -> Path:
    """Where an archive of the set is unpacked, for as long as it takes to check and copy its images."""
    return work / dataset.name / "unpacked"
