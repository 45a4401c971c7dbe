"""A small synthetic experiment: two sets of three images, every kind of cell, a method that wins and one that loses."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from fsr.config import Params
from fsr.files import write_json
from fsr.images import write_image
from fsr.metrics.fidelity import l1, psnr, ssim
from fsr.report import ReportInputs

HEIGHT, WIDTH, SCALE = 48, 64, 2
SETS = {"SetA": ("ant", "bee", "cat"), "SetB": ("dog", "eel", "fox")}
NOISE = {"bicubic": 0.06, "decoded_bicubic": 0.08, "latent_bicubic": 0.25, "feature_bicubic": 0.12, "fsr": 0.03,
         "fsr_euler2": 0.035, "fsr_eta0.10": 0.05, "vae_roundtrip": 0.0}  # fmt: skip
LOSES_ON = ("SetB", "fox")  # there fsr is noisier than feature_bicubic
GALLERY = ("lr", "bicubic", "feature_bicubic", "fsr", "vae_roundtrip", "hr")
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


@pytest.fixture(scope="session")
def facts() -> Facts:
    """The names and sizes the files below are made of."""
    return Facts()


@pytest.fixture(scope="session")
def params() -> Params:
    """Parameters of which the report reads the names, the scale, the seed and its own section."""
    sizes = {"hidden": 8, "blocks": 1, "block": "depthwise", "patch": 1, "gate": "none"}
    losses = dict.fromkeys(
        ("flow", "endpoint", "fft", "one_step", "rgb", "low_frequency", "high_frequency", "drift", "gate_sparsity"), 1.0
    )
    weights = {"high_frequency": 1.0, "fft": 0.5, "low_frequency": 0.7, "sensitivity": 0.7, "cost": 0.3}
    values = {
        "experiment": "synthetic",
        "seed": 0,
        "scale": SCALE,
        "runtime": {"device": "cpu", "dtype": "float32", "threads": 1},
        "data": {"train": ["Train"], "test": list(SETS), "mirror": None, "folders": {}},
        "vae": {"class": "AutoencoderKL", "path": "embedded", "subfolder": None, "revision": None, "dtype": "float32"},
        "latents": {"crops": 4, "validation_crops": 2, "validation_fraction": 0.1, "crop_size": 32, "shard_size": 4,
                    "batch": 2, "dtype": "float32"},
        "probe": {"cuts": ["f1", "f2", "f3"], "crops": 4, "score": "absolute", "weights": weights, "margin": 0.05,
                  "bootstrap": 200},
        "train": {"cut": "best", "field": sizes, "losses": losses | {"gate_variation": 0.0}, "pixel_loss_every": 2,
                  "sigma_max": 0.03, "statistics": "cache", "statistics_crops": 2, "steps": 60, "hours": None,
                  "batch": 1, "accumulation": 1, "lr": 1e-3, "warmup_steps": 2, "decay_from": 0.5, "weight_decay": 0.0,
                  "clip_grad_norm": 1.0, "ema_decay": 0.9, "checkpoint_tail": False, "checkpoint_field": False,
                  "validate_every": 10, "checkpoint_every": 10},
        "benchmark": {"protocol": "strict", "upscalers": list(NOISE), "dtype": "float32", "lpips": "auto",
                      "bootstrap": 500},
        "report": {"gallery": list(GALLERY), "zooms": 2, "zoom_size": 16},
    }  # fmt: skip
    return Params.model_validate(values)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """The files of the stages before the report."""
    root = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(0)
    for name, images in SETS.items():
        cells = [cell for image in images for cell in _benchmark_image(root / "images", name, image, rng)]
        _write_csv(
            root / f"{name}.csv", ("protocol", "set", "image", "upscaler", "target", "metric", "value", "reason"), cells
        )
    write_image(root / "grid.png", torch.rand(3, 40, 90, generator=torch.Generator().manual_seed(1)))
    write_image(root / "validation.png", torch.rand(3, 40, 80, generator=torch.Generator().manual_seed(2)))
    _write_probe(root)
    _write_training(root, rng)
    return ReportInputs(
        tuple(root / f"{name}.csv" for name in SETS),
        root / "images",
        root / "probe.csv",
        root / "probe_runtime.csv",
        root / "grid.png",
        root / "selected_cut.json",
        root / "log.csv",
        root / "validation.png",
        root / "runtime.json",
    )


def _benchmark_image(folder: Path, name: str, image: str, rng: np.random.Generator) -> list[tuple[str, ...]]:
    y, x = np.mgrid[:HEIGHT, :WIDTH] / 16
    phase = rng.uniform(0, 6, (3, 1, 1))
    target = torch.from_numpy(0.5 + 0.3 * np.sin(x * 2 + phase) * np.cos(y * 3 - phase))[None].float()
    pictures = {
        row: (target + torch.from_numpy(rng.normal(0, noise, target.shape))).float() for row, noise in NOISE.items()
    }
    if (name, image) == LOSES_ON:
        pictures["fsr"] = (target + torch.from_numpy(rng.normal(0, 0.2, target.shape))).float()
    hr = (target + torch.from_numpy(rng.normal(0, 0.02, target.shape))).float()
    shown = pictures | {"hr": hr, "lr": target[..., ::SCALE, ::SCALE]}
    for row in GALLERY:
        write_image(folder / name / row / f"{image}.png", shown[row])
    cells = []
    for row, picture in pictures.items():
        for goal, goal_picture in (("x_H_rec", target), ("hr", hr)):
            place = ("strict", name, image, row, goal)
            values = {
                "psnr": psnr(picture, goal_picture),
                "ssim": ssim(picture, goal_picture),
                "rgb_l1": l1(picture, goal_picture),
            }
            cells += [(*place, metric, f"{value:.8g}", "") for metric, value in values.items()]
            cells.append((*place, "lpips", "", NO_LPIPS))
            if goal == "x_H_rec":
                in_features = row.startswith(("feature", "fsr"))
                cells.append((*place, "feature_l1", *((f"{NOISE[row]:.8g}", "") if in_features else ("", NO_FEATURE))))
    return cells


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
        validation = f"{20 + 5 * (1 - fall):.4f}" if step % 10 == 0 else ""
        rows.append((step, 1e-3, f"{fall:.5g}", f"{0.5 * fall:.5g}", pixel, validation))
    _write_csv(root / "log.csv", ("step", "lr", "loss", "one_step", "rgb", "validation_psnr"), rows)
    write_json(root / "runtime.json", {"steps": 60, "seconds": 3725.4, "peak_memory_gib": 1.25})


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
