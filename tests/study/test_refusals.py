"""What stops a study, and how it says so."""

import pytest
from commands import change, new_study, snakemake
from PIL import Image

from fsr.datasets import find, read_registry


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v["train"].update(stepz=1), "train.stepz is not a known key; check its spelling"),
        (lambda v: v["train"].update(steps=-5), "train.steps is -5: input should be greater than 0"),
        (lambda v: v["train"].update(cut="f9"), "train.cut is 'f9': input should be 'best', 'f1'"),
        (
            lambda v: v["data"].update(test=["FLUX179"], folders={"FLUX179": "nowhere"}),
            "no images of FLUX179 in nowhere (data.folders)",
        ),
        (
            lambda v: v["data"].update(test=["FLUX179"], mirror="nowhere"),
            "the mirror nowhere is not a folder; correct data.mirror or FSR_MIRROR",
        ),
        (
            lambda v: v["vae"].update({"class": "Unknown"}),
            "vae.class is 'Unknown': input should be 'AutoencoderKL'",
        ),
    ],
)
def test_wrong_params_stop_before_anything_runs_in_one_line(tmp_path, edit, message):
    folder = new_study(tmp_path)
    change(folder, edit)
    said = snakemake(folder, "all", fails=True)
    errors = [line for line in said.splitlines() if message in line]
    assert len(errors) == 1
    assert "Traceback" not in said
    assert not (folder / "results").exists()


def test_an_unknown_set_is_named_with_the_known_ones(tmp_path):
    folder = new_study(tmp_path)
    change(folder, lambda values: values["data"].update(test=["Set6"]))
    said = snakemake(folder, "data", fails=True)
    assert "error in rule dataset: dataset 'Set6' is not in the registry; choose one of " in said
    assert "Traceback" not in said


def test_a_set_that_cannot_be_had_is_an_error_where_the_study_may_not_go_on_without_it(tmp_path):
    folder = new_study(tmp_path)
    change(folder, lambda values: values["data"].update(test=["Manga109"]))
    said = snakemake(folder, "data", fails=True)
    assert "error in rule dataset: dataset Manga109 is not at hand and is never fetched: Ask its authors" in said
    assert "set data.folders.Manga109 to its folder" in said
    assert "Traceback" not in said


def test_results_that_cannot_be_written_are_named(tmp_path):
    folder = new_study(tmp_path)
    (folder / "results").write_text("a file where a folder is needed")
    said = snakemake(folder, "data", fails=True)
    assert "results: a file stands where a folder is needed; move it away" in said
    assert "Traceback" not in said


def test_a_training_image_that_shows_a_test_image_stops_the_study_before_training(root, tmp_path):
    """A set without registered content, of which one image is cut from a training photograph."""
    folder, leaking = new_study(tmp_path / "study"), tmp_path / "leaking"
    leaking.mkdir()
    photographs = find(read_registry(root / "data/datasets.csv")["EmbeddedTrain"]).files
    china = Image.open(photographs["china"])
    china.crop((100, 50, 420, 290)).save(leaking / "pagoda.png")
    for index in range(99):
        Image.new("RGB", (32, 32), (index, 0, 0)).save(leaking / f"{index}.png")
    sets = {"test": ["EmbeddedTiny", "DIV2K_valid"], "folders": {"DIV2K_valid": str(leaking)}}
    change(folder, lambda values: values["data"].update(sets))
    said = snakemake(folder, "train", fails=True)
    assert (
        "error in rule accept_leakage: training image EmbeddedTrain/china shows test image DIV2K_valid/pagoda" in said
    )
    assert "data.exclude: {EmbeddedTrain: [china]}" in said
    assert (folder / "results/tiny/data/leakage.png").is_file()
    assert not list((folder / "data/latents").rglob("*.safetensors")), "nothing was encoded"
    change(folder, lambda values: values["data"].update(exclude={"EmbeddedTrain": ["china"]}))
    snakemake(folder, "data")
    assert not (folder / "data/raw/public/EmbeddedTrain/china.jpg").exists()


def test_a_missing_image_is_named(copied):
    (copied / "data/raw/public/EmbeddedTiny/rocket.jpg").unlink()
    said = snakemake(copied, "--forcerun", "benchmark_rows", "--", "benchmark", fails=True)
    assert "rocket.jpg is missing though" in said
    assert "Traceback" not in said
