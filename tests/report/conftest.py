"""A small synthetic experiment: two sets of three images, every kind of cell, a method that wins and one that loses.

And a mixed one: two protocols, a set that is not available, one that is a variant, published numbers, a leaked image.
And one at two scales, of which the larger is noisier, with one set that is not available.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from fsr.config import Params
from fsr.files import write_json
from fsr.images import write_image
from fsr.metrics.fidelity import l1, psnr, ssim
from fsr.report import ReportInputs
from fsr.report.cells import COLUMNS, read_benchmark
from fsr.report.published import COLUMNS as PUBLISHED_COLUMNS

HEIGHT, WIDTH, SCALE = 48, 64, 2
SETS = {"SetA": ("ant", "bee", "cat"), "SetB": ("dog", "eel", "fox")}
NOISE = {"bicubic": 0.06, "decoded_bicubic": 0.08, "latent_bicubic": 0.25, "feature_bicubic": 0.12, "fsr": 0.03,
         "fsr_euler2": 0.035, "fsr_eta0.10": 0.05, "vae_roundtrip": 0.0}  # fmt: skip
LOSES_ON = ("SetB", "fox")  # there fsr is noisier than feature_bicubic
GALLERY = ("lr", "bicubic", "feature_bicubic", "fsr", "vae_roundtrip", "hr")
PUBLISHED = (
    ("Someone", "https://example.org/paper", "main", "SetB", "magic", "Y crop 2", "psnr", "31.40"),
    ("Someone", "https://example.org/paper", "main", "SetB", "magic", "Y crop 2", "ssim", "0.9120"),
    ("Another", "a thesis", "main", "SetB", "spell", "RGB", "niqe_like", "4.100"),
    ("Another", "a thesis", "main", "Manga109", "spell", "RGB", "psnr", "30.1"),
    ("Another", "a thesis", "main", "Elsewhere", "spell", "RGB", "psnr", "99.9"),
)
MATCH = {"train_set": "Train", "train_image": "302", "test_set": "SetA", "test_image": "bee", "scale": 1.02,
         "rotation_degrees": -0.4, "mirrored": True, "overlap": 0.987, "correlation": 0.9912,
         "inliers": 120}  # fmt: skip
COST = {"steps": 60, "seconds": 3725.4, "crops": 120, "data_wait_share": 0.0123, "skipped_steps": 0, "processes": 1,
        "peak_memory_gib": 1.25, "autocast": "float32"}  # fmt: skip
NO_LPIPS, NO_FEATURE = "LPIPS backbone alex is not at hand", "not a method in feature space"


@dataclass(frozen=True)
class Facts:
    """What tests may know of the synthetic experiment."""

    height: int = HEIGHT
    width: int = WIDTH
    scale: int = SCALE
    sets: dict[str, tuple[str, ...]] = field(default_factory=lambda: SETS)
    loses_on: tuple[str, str] = LOSES_ON
    gallery: tuple[str, ...] = GALLERY
    no_lpips: str = NO_LPIPS
    no_feature: str = NO_FEATURE
    absent: str = "Manga109"
    absent_reason: str = "it is given on request only; put it where data.folders finds it"
    published: tuple[tuple[str, ...], ...] = PUBLISHED
    match: dict = field(default_factory=lambda: MATCH)
    cost: dict = field(default_factory=lambda: COST)


@pytest.fixture(scope="session")
def facts() -> Facts:
    """The names and sizes the files below are made of."""
    return Facts()


@pytest.fixture(scope="session")
def params(root: Path) -> Params:
    """Parameters of which the report reads the names, the scale, the seed and its own section."""
    values = yaml.safe_load((root / "tests/tiny/params.yaml").read_text(encoding="utf-8"))
    values |= {"experiment": "synthetic", "scales": [SCALE]}
    values["data"] |= {"train": ["Train"], "test": list(SETS)}
    values["probe"]["cuts"] = ["f1", "f2", "f3"]
    values["benchmark"] |= {"upscalers": list(NOISE), "bootstrap": 500}
    values["report"] = {"gallery": list(GALLERY), "zooms": 2, "zoom_size": 16}
    return Params.model_validate(values)


@pytest.fixture(scope="session")
def mixed_params(params: Params) -> Params:
    """Parameters of the mixed experiment."""
    benchmark = params.benchmark.model_copy(update={"protocols": ["strict", "prototype"]})
    return params.model_copy(update={"benchmark": benchmark})


@pytest.fixture(scope="session")
def twofold_params(params: Params) -> Params:
    """Parameters of the experiment at two scales."""
    return params.model_copy(update={"scales": [2, 4]})


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """The files of the stages before the report."""
    root = tmp_path_factory.mktemp("results")
    return _write_results(root, ("strict",), [_manifest("Train", 3, role="train"), *(_manifest(name) for name in SETS)])


@pytest.fixture(scope="session")
def twofold(tmp_path_factory: pytest.TempPathFactory, facts: Facts) -> ReportInputs:
    """The files of the experiment at two scales."""
    absent = {"name": facts.absent, "role": "test", "available": False, "reason": facts.absent_reason, "files": []}
    manifests = [_manifest("Train", 3, role="train"), *(_manifest(name) for name in SETS), absent]
    return _write_results(
        tmp_path_factory.mktemp("twofold"), ("strict",), manifests, scales=(2, 4), published=PUBLISHED
    )


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory, facts: Facts) -> ReportInputs:
    """The files of the mixed experiment; the set that is not available stands between the two that are."""
    root = tmp_path_factory.mktemp("mixed")
    absent = {"name": facts.absent, "role": "test", "available": False, "reason": facts.absent_reason, "files": []}
    train = _manifest("Train", 3, role="train", excluded=["303"])
    set_a, set_b = _manifest("SetA"), _manifest("SetB", variant="GTmod12", cropped=True, verified=False)
    protocols = ("strict", "prototype")
    return _write_results(root, protocols, [train, set_a, absent, set_b], matches=[MATCH], published=PUBLISHED)


@pytest.fixture(scope="session")
def cells(results: ReportInputs) -> pd.DataFrame:
    """What was measured in the synthetic experiment."""
    return read_benchmark(results.benchmarks, ("strict",), (SCALE,)).measured


def _manifest(name: str, images: int = 3, role: str = "test", **found: object) -> dict:
    entry = {"name": name, "role": role, "available": True, "reason": "", "source": "package", "variant": "HR",
             "cropped": False, "verified": True, "licence": "CC0", "sha256": "0" * 64}  # fmt: skip
    return entry | {"files": [{"name": f"{index}.png", "sha256": "0" * 64} for index in range(images)]} | found


def _write_results(
    root: Path,
    protocols: tuple[str, ...],
    manifests: list[dict],
    matches: Sequence[dict] = (),
    published: Sequence = (),
    scales: Sequence[int] = (SCALE,),
) -> ReportInputs:
    rng = np.random.default_rng(0)
    sets = [manifest for manifest in manifests if manifest["role"] == "test"]
    for scale, each in product(scales, sets):
        name = each["name"]
        lines = [(protocol, scale, name, *[""] * 5, each["reason"]) for protocol in protocols]
        if each["available"]:
            lines = [ln for image in SETS[name] for ln in _benchmark_image(root, protocols, scale, name, image, rng)]
        (root / f"x{scale}").mkdir(exist_ok=True)
        _write_csv(root / f"x{scale}/{name}.csv", COLUMNS, lines)
    for manifest in manifests:
        write_json(root / f"raw/{manifest['name']}/manifest.json", manifest)
    compared = {"train": [{"set": "Train", "images": 3}], "test": [{"set": name, "images": 3} for name in SETS]}
    write_json(root / "leakage.json", {"action": "report", "method": {}, **compared, "matches": list(matches)})
    _write_csv(root / "published.csv", PUBLISHED_COLUMNS, list(published))
    for seed, name in enumerate(("grid", "validation", "leakage"), start=1):
        write_image(root / f"{name}.png", torch.rand(3, 40, 90, generator=torch.Generator().manual_seed(seed)))
    _write_probe(root)
    _write_training(root, rng)
    return ReportInputs(
        benchmarks=tuple(root / f"x{scale}/{each['name']}.csv" for scale, each in product(scales, sets)),
        pictures=root / "images",
        datasets=tuple(root / f"raw/{manifest['name']}/manifest.json" for manifest in manifests),
        leakage=root / "leakage.json",
        leakage_grid=root / "leakage.png",
        published=root / "published.csv",
        probe=root / "probe.csv",
        probe_runtime=root / "probe_runtime.csv",
        probe_grid=root / "grid.png",
        selected_cut=root / "selected_cut.json",
        train_log=root / "log.csv",
        train_grid=root / "validation.png",
        train_runtime=root / "runtime.json",
        trained_cut=root / "cut.json",
    )


def _benchmark_image(
    root: Path, protocols: tuple[str, ...], scale: int, name: str, image: str, rng: np.random.Generator
) -> list[tuple[str, ...]]:
    y, x = np.mgrid[:HEIGHT, :WIDTH] / 16
    phase = rng.uniform(0, 6, (3, 1, 1))
    target = torch.from_numpy(0.5 + 0.3 * np.sin(x * 2 + phase) * np.cos(y * 3 - phase))[None].float()
    pictures = {
        row: (target + torch.from_numpy(rng.normal(0, noise * scale / SCALE, target.shape))).float()
        for row, noise in NOISE.items()
    }
    if (name, image) == LOSES_ON:
        pictures["fsr"] = (target + torch.from_numpy(rng.normal(0, 0.2, target.shape))).float()
    hr = (target + torch.from_numpy(rng.normal(0, 0.02, target.shape))).float()
    shown = pictures | {"hr": hr, "lr": target[..., ::scale, ::scale]}
    for row in GALLERY:
        write_image(root / f"images/x{scale}" / name / row / f"{image}.png", shown[row])
    lines = []
    for protocol, (row, picture) in product(protocols, pictures.items()):
        for goal, goal_picture in (("x_H_rec", target), ("hr", hr)):
            place = (protocol, scale, name, image, row, goal)
            values = {
                "psnr": psnr(picture, goal_picture) + (0.3 if protocol == "prototype" else 0.0),
                "ssim": ssim(picture, goal_picture),
                "rgb_l1": l1(picture, goal_picture),
            }
            lines += [(*place, metric, f"{value:.8g}", "") for metric, value in values.items()]
            lines.append((*place, "lpips", "", NO_LPIPS))
            if goal == "x_H_rec":
                in_features = row.startswith(("feature", "fsr"))
                lines.append((*place, "feature_l1", *((f"{NOISE[row]:.8g}", "") if in_features else ("", NO_FEATURE))))
    return lines


def _write_probe(root: Path) -> None:
    means = ("rgb_l1", "hf_error", "lf_drift", "feature_l1", "fft_gap", "mean_gap", "std_gap", "sensitivity")
    terms = ("missing_high_frequency", "relative_fft_gap", "relative_lf_drift", "relative_sensitivity", "relative_cost")
    columns = (
        "cut",
        "stage",
        "status",
        "reason",
        "crops",
        *means,
        *terms,
        "score",
        "score_low",
        "score_high",
        "selected",
    )
    numbers = ["0.1"] * len(means)
    rows = [
        ("f1", "decoder.conv_in", "ok", "", 4, *numbers, 0.2, 0.3, 0.1, 0.2, 0.4, 0.02, -0.05, 0.09, False),
        ("f2", "decoder.up_blocks.0", "ok", "", 4, *numbers, 0.7, 0.5, 0.1, 0.2, 0.6, 0.56, 0.48, 0.64, True),
        (
            "f3",
            "decoder.up_blocks.1",
            "oom",
            "out of memory at 4 crops",
            0,
            *[""] * (len(numbers) + len(terms) + 3),
            False,
        ),
    ]
    _write_csv(root / "probe.csv", columns, rows)
    _write_probe_companions(root)


def _write_probe_companions(root: Path) -> None:
    runtime = [("f1", 1.5, 8.0, 0.2, 0.4), ("f2", 2.5, 6.0, 0.3, 0.9), ("f3", "", "", "", "")]
    _write_csv(root / "probe_runtime.csv", ("cut", "head_ms", "tail_ms", "peak_memory_gib", "prototype_score"), runtime)
    selected = {
        "cut": "f2",
        "candidates": ["f2"],
        "stage": "decoder.up_blocks.0",
        "score": 0.56,
        "margin": 0.54,
        "ambiguous": False,
        "ranking": ["f2", "f1"],
    }
    write_json(root / "selected_cut.json", selected)


def _write_training(root: Path, rng: np.random.Generator) -> None:
    rows = []
    for step in range(1, 61):
        fall = np.exp(-step / 15) * rng.uniform(0.9, 1.1)
        pixel = f"{0.3 * fall:.5g}" if step % 2 == 0 else ""
        validation = [""] * 3
        if step % 10 == 0:
            validation = [f"{20 + 5 * (1 - fall):.4f}", f"{0.1 * fall:.4f}", f"{0.1 - fall:.4f}"]
        rows.append((step, 1e-3, f"{fall:.5g}", f"{0.5 * fall:.5g}", pixel, 3 * fall, 0, *validation))
    measured = ("validation_psnr", "validation_rgb_l1", "validation_margin")
    _write_csv(root / "log.csv", ("step", "lr", "loss", "one_step", "rgb", "grad_norm", "skipped", *measured), rows)
    write_json(root / "runtime.json", COST)
    write_json(root / "cut.json", {"cut": "f2", "decided_by": "probe", "trials": []})


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
