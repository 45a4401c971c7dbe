"""What is told of distributions: a line for every distance, with its number or the reason why there is none."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fsr.benchmark.distribution import RowFeatures, tabulate_distributions
from fsr.benchmark.features import Extractor, join_features, reference_features
from fsr.config import Params
from fsr.files import write_json
from fsr.images import read_image
from fsr.metrics.distribution import frechet_distance, kernel_distance
from fsr.metrics.features import load_feature_net, patches
from fsr.sections import validated

NET = "efficientnet_lite0"


@pytest.fixture
def study(values):
    """`study(features=[...])`: parameters with a reference set."""

    def make(**settings) -> Params:
        values["data"]["reference"] = ["OpenImagesHR"]
        values["benchmark"]["distribution"] |= {"features": [NET], **settings}
        return validated(Params, values, "test")

    return make


def images(folder, count, seed=0):
    """The manifest of a set of noise."""
    folder.mkdir()
    source = np.random.default_rng(seed)
    for index in range(count):
        Image.fromarray(source.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    files = [{"name": file.name} for file in sorted(folder.glob("*.png"))]
    return write_json(folder / "manifest.json", {"name": folder.name, "available": True, "files": files})


def table(params, folder, references) -> list[dict[str, str]]:
    rows = [RowFeatures(2, "Set5", "paired", folder)]
    tabulate_distributions(params, rows, references, folder / "table.csv")
    return list(csv.DictReader((folder / "table.csv").open()))


def test_features_are_those_of_the_images_and_of_their_patches(study, tmp_path):
    params = study()
    manifest = images(tmp_path / "set", 2)
    reference_features(params, manifest, tmp_path / "OpenImagesHR.safetensors")
    found = load_file(tmp_path / "OpenImagesHR.safetensors")
    net = load_feature_net(NET, "cpu").network
    image = read_image(tmp_path / "set/1.png")
    assert torch.allclose(found[f"{NET}.images"][1:], net(image), atol=1e-5)
    assert torch.allclose(found[f"{NET}.patches"][2:], net(patches(image, 2, 32, 0, "1")), atol=1e-5)


def test_distances_are_those_of_the_features(study, tmp_path):
    params, source = study(), torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(9, 3, generator=source) for _ in range(2))
    save_file({f"{NET}.images": ours, f"{NET}.patches": 2 * ours}, tmp_path / "fsr.safetensors")
    save_file({f"{NET}.images": theirs, f"{NET}.patches": theirs[:6].clone()}, tmp_path / "reference.safetensors")
    rows = table(params, tmp_path, {"OpenImagesHR": tmp_path / "reference.safetensors"})
    rows = [row for row in rows if row["upscaler"] == "fsr"]
    assert [row["metric"] for row in rows] == ["fd", "kd", "patch_fd", "patch_kd"]
    assert {(row["upscaler"], row["reference"], row["reason"]) for row in rows} == {("fsr", "OpenImagesHR", "")}
    assert float(rows[0]["value"]) == pytest.approx(frechet_distance(ours, theirs).value, rel=1e-6)
    kernel = kernel_distance(2 * ours, theirs[:6], params.benchmark.distribution.subsets, 4, params.seed)
    assert float(rows[3]["value"]) == pytest.approx(kernel.value, rel=1e-6)
    assert [(row["samples"], row["reference_samples"]) for row in rows] == [("9", "9")] * 2 + [("9", "6")] * 2
    assert rows[1]["subset_size"] == "4"


def test_what_cannot_be_told_says_why(study, tmp_path):
    save_file({f"{NET}.images": torch.randn(1, 3)}, tmp_path / "fsr.safetensors")
    save_file({}, tmp_path / "absent.safetensors")
    params = study(features=[NET, "inception_fidelity"])
    rows = table(params, tmp_path, {"OpenImagesHR": tmp_path / "absent.safetensors"})
    assert {row["upscaler"] for row in rows} == set(params.benchmark.upscalers), "each has its lines"
    assert all(row["value"] == "" for row in rows)
    reasons = {(row["features"], row["metric"]): row["reason"] for row in rows if row["upscaler"] == "fsr"}
    assert reasons[NET, "fd"] == "OpenImagesHR is not available"
    assert reasons[NET, "patch_fd"] == "an image of Set5 is smaller than a patch of 32 pixels"
    assert {row["reason"] for row in rows if row["upscaler"] == "bicubic" and row["features"] == NET} == {
        "Set5 is not available"
    }
    reasons = {row["features"]: row["reason"] for row in rows}
    assert "are not at hand" in reasons["inception_fidelity"]


def test_without_a_reference_there_is_a_header_alone(params, tmp_path):
    assert table(params, tmp_path, {}) == []
    assert (tmp_path / "table.csv").read_text().startswith("scale,set,mode,reference,upscaler,features,metric,value")


def test_cosines_need_a_prompt_beside_the_image(study, tmp_path, monkeypatch):
    monkeypatch.setattr("fsr.benchmark.features.load_clip", lambda *_: lambda image, prompt: float(len(prompt)))
    images(tmp_path / "set", 2)
    (tmp_path / "set/prompts").mkdir()
    (tmp_path / "set/prompts/0.txt").write_text("a cat\n")
    extractor = Extractor(study(features=[], clip="local"), "cpu")
    for file in sorted((tmp_path / "set").glob("*.png")):
        extractor.add("fsr", file, read_image(file))
    extractor.write(tmp_path)
    assert load_file(tmp_path / "fsr.safetensors")["clip"].tolist() == [[5.0]]
    rows = table(study(features=[], clip="local"), tmp_path, {})
    told = {row["upscaler"]: (row["metric"], row["value"], row["samples"], bool(row["reason"])) for row in rows}
    assert told.pop("fsr") == ("clip", "5", "1", False)
    assert set(told.values()) == {("clip", "", "0", True)}


def test_a_set_with_one_image_smaller_than_a_patch_has_no_patches(study, tmp_path):
    images(tmp_path / "set", 2)
    Image.new("RGB", (48, 24)).save(tmp_path / "set/small.png")
    extractor = Extractor(study(), "cpu")
    for file in sorted((tmp_path / "set").glob("*.png")):
        extractor.add("fsr", file, read_image(file))
    extractor.write(tmp_path)
    found = load_file(tmp_path / "fsr.safetensors")
    assert {name: len(values) for name, values in found.items()} == {f"{NET}.images": 3}


def test_features_of_parts_join_to_those_of_the_set(study, tmp_path, monkeypatch):
    monkeypatch.setattr("fsr.benchmark.features.load_clip", lambda *_: lambda image, prompt: float(len(prompt)))
    images(tmp_path / "set", 3)
    (tmp_path / "set/prompts").mkdir()
    (tmp_path / "set/prompts/2.txt").write_text("a cat")
    Image.new("RGB", (48, 24)).save(tmp_path / "set/small.png")
    files, params = sorted((tmp_path / "set").glob("*.png")), study(clip="local")

    def extracted(folder, part):
        extractor = Extractor(params, "cpu")
        for file in part:
            extractor.add("fsr", file, read_image(file))
        (tmp_path / folder).mkdir()
        extractor.write(tmp_path / folder)
        return tmp_path / folder

    for name, whole in (("large", files[:3]), ("mixed", files)):
        extracted(name, whole)
        parts = [extracted(f"{name}{start}-{end}", whole[start:end]) for start, end in ((0, 1), (1, 1), (1, 9))]
        join_features(parts, tmp_path / f"{name}_joined")
        joined, one = (load_file(tmp_path / folder / "fsr.safetensors") for folder in (f"{name}_joined", name))
        assert list(joined) == list(one)
        assert all(torch.equal(joined[key], one[key]) for key in one)
