"""A small synthetic experiment: two sets of three images, every kind of cell, a method that wins and one that loses.

And a mixed one: two protocols, a set that is not available, one that is a variant, published numbers, a leaked image.
And one at two scales, of which the larger is noisier, with one set that is not available.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from synthetic_stages import COST, FLAG, MODELS, write_csv, write_machine, write_probe, write_training

from fsr.config import Params
from fsr.files import write_json
from fsr.images import write_image
from fsr.metrics.fidelity import l1, psnr, ssim
from fsr.report import ReportInputs, build_report, names
from fsr.report.cells import COLUMNS, read_benchmark
from fsr.report.columns import Column, columns
from fsr.report.published import COLUMNS as PUBLISHED_COLUMNS

HEIGHT, WIDTH, SCALE = 48, 64, 2
SETS = {"SetA": ("ant", "bee", "cat"), "SetB": ("dog", "eel", "fox")}
NOISE = {"bicubic": 0.06, "decoded_bicubic": 0.08, "latent_bicubic": 0.25, "feature_bicubic": 0.12, "fsr": 0.03,
         "lua_steps": 0.045, "lsrna_steps_matched": 0.07, "lsrna_steps_noised": 0.3, "fsr_euler2": 0.035,
         "fsr_eta0.10": 0.05, "vae_roundtrip": 0.0}  # fmt: skip
BASE_NOISE = {name: noise for name, noise in NOISE.items() if name != "vae_roundtrip"}
BASE_ONLY = ("Gen", ("g1", "g2", "g3", "g4", "g5", "g6"))
LOSES_ON = ("SetB", "fox")  # there fsr is noisier than feature_bicubic
GALLERY = ("lr", "bicubic", "feature_bicubic", "fsr", "lua_steps", "vae_roundtrip", "hr")
PUBLISHED = (
    ("Someone", "https://example.org/paper", "main", "SetB", "magic", "Y crop 2", "psnr", "31.40"),
    ("Someone", "https://example.org/paper", "main", "SetB", "magic", "Y crop 2", "ssim", "0.9120"),
    ("Another", "a thesis", "main", "SetB", "spell", "RGB", "niqe_like", "4.100"),
    ("Another", "a thesis", "main", "Manga109", "spell", "RGB", "psnr", "30.1"),
    ("Another", "a thesis", "main", "Elsewhere", "spell", "RGB", "psnr", "99.9"),
    ("Someone", "https://example.org/paper", "contextual", "SetB", "lua", "raw HR RGB crop 2", "psnr", "27.99"),
    ("Someone", "https://example.org/paper", "runtime", "512->1024", "lua", "a GPU", "total_ms", "421.1"),
)
MATCH = {"train_set": "Train", "train_image": "302", "test_set": "SetA", "test_image": "bee", "scale": 1.02,
         "rotation_degrees": -0.4, "mirrored": True, "overlap": 0.987, "correlation": 0.9912,
         "inliers": 120}  # fmt: skip
NO_LPIPS, NO_FEATURE = "the backbone alex is not at hand", "not a method in feature space"


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
    flag: str = FLAG
    base_only: tuple[str, tuple[str, ...]] = BASE_ONLY


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
    return _write_results(root, protocols, [train, set_a, absent, set_b, _manifest("Gen", 6, role="reference")],
                          matches=[MATCH], published=PUBLISHED, base_only=[SCALE])  # fmt: skip


@pytest.fixture(scope="session")
def page_path(params: Params, results: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the synthetic experiment, its tables and figures beside it."""
    folder = tmp_path_factory.mktemp("report")
    build_report(params, results, folder)
    return folder / "index.html"


@pytest.fixture(scope="session")
def mixed_folder(mixed_params: Params, mixed: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the mixed experiment."""
    folder = tmp_path_factory.mktemp("mixed")
    build_report(mixed_params, mixed, folder)
    return folder


@pytest.fixture(scope="session")
def found(cells: pd.DataFrame) -> list[Column]:
    """The same, a column a metric and place."""
    return columns(cells)


@pytest.fixture(scope="session")
def cells(results: ReportInputs, rows: dict[str, names.Row]) -> pd.DataFrame:
    """What was measured in the synthetic experiment."""
    return read_benchmark(results.benchmarks, ("strict",), (SCALE,), rows).measured


@pytest.fixture(scope="session")
def rows(params: Params) -> dict[str, names.Row]:
    """Every row the synthetic experiment may have."""
    return names.rows(params.rivals)


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
    base_only: Sequence[int] = (),
) -> ReportInputs:
    rng = np.random.default_rng(0)
    sets = [manifest for manifest in manifests if manifest["role"] == "test"]
    for scale, each in product(scales, sets):
        name = each["name"]
        lines = [(protocol, scale, name, *[""] * 5, each["reason"]) for protocol in protocols]
        if each["available"]:
            lines = [ln for image in SETS[name] for ln in _benchmark_image(root, protocols, scale, name, image, rng)]
        (root / f"x{scale}").mkdir(exist_ok=True)
        write_csv(root / f"x{scale}/{name}.csv", COLUMNS, lines)
    for manifest in manifests:
        write_json(root / f"raw/{manifest['name']}/manifest.json", manifest)
    compared = {"train": [{"set": "Train", "images": 3}], "test": [{"set": name, "images": 3} for name in SETS]}
    write_json(root / "leakage.json", {"action": "report", "method": {}, **compared, "matches": list(matches)})
    write_csv(root / "published.csv", PUBLISHED_COLUMNS, list(published))
    for seed, name in enumerate(("grid", "validation", "leakage"), start=1):
        write_image(root / f"{name}.png", torch.rand(3, 40, 90, generator=torch.Generator().manual_seed(seed)))
    write_probe(root)
    write_training(root, rng)
    write_machine(root, tuple(scales))
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
        base_only=tuple(write_base_only(root, scale, protocols[0], rng) for scale in base_only),
        distribution=root / "distribution.csv",
        runtime=root / "runtime.csv",
        training_costs=root / "training_costs.csv",
        rivals={model: root / f"rivals/{model}/runtime.json" for model in MODELS},
        searches=tuple(root / f"rivals/{method}/search.json" for method in ("fsr", "lua")),
    )


def base_lines(
    place: tuple, pictures: Iterable[str], rng: np.random.Generator, flat: str = ""
) -> list[tuple[str, ...]]:
    """The cells of one image against the low-resolution one; on the image `flat` there is no HF gain."""
    lines = []
    for row in pictures:
        noise = NOISE[row] + 0.01
        values = {"base_psnr": 30 - 20 * np.log10(10 * noise) + rng.normal(0, 0.1), "base_ssim": 1 - noise,
                  "base_l1": noise / 10, "base_gradient_l1": noise / 5, "hf_energy": noise, "hf_gain": 1 + noise,
                  "lf_drift": noise, "colour_shift": 10 * noise}  # fmt: skip
        for metric, value in values.items():
            undefined = metric == "hf_gain" and place[3] == flat
            lines.append(
                (*place, row, "lr", metric, *(("", "the base is flat") if undefined else (f"{value:.8g}", "")))
            )
    return lines


def write_base_only(root: Path, scale: int, protocol: str, rng: np.random.Generator) -> Path:
    """A set that was enlarged as it is, with its pictures."""
    name, images = BASE_ONLY
    lines = [ln for image in images for ln in base_lines((protocol, scale, name, image), BASE_NOISE, rng, flat="g6")]
    for row, image in product(("lr", "bicubic", "feature_bicubic", "fsr", "lua_steps"), images):
        size = (HEIGHT, WIDTH) if row != "lr" else (HEIGHT // scale, WIDTH // scale)
        path = root / f"images/base_only/x{scale}" / name / row / f"{image}.png"
        write_image(path, torch.from_numpy(rng.random((1, 3, *size))).float())
    path = root / f"base_only/x{scale}/{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, COLUMNS, lines)
    return path


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
    lines = [line for protocol in protocols for line in base_lines((protocol, scale, name, image), pictures, rng)]
    for (row, picture), (goal, goal_picture) in product(pictures.items(), (("x_H_rec", target), ("hr", hr))):
        values = {"psnr": psnr(picture, goal_picture), "ssim": ssim(picture, goal_picture)}
        values["rgb_l1"] = l1(picture, goal_picture)
        for protocol in protocols:
            place = (protocol, scale, name, image, row, goal)
            brighter = values | {"psnr": values["psnr"] + (0.3 if protocol == "prototype" else 0.0)}
            lines += [(*place, metric, f"{value:.8g}", "") for metric, value in brighter.items()]
            lines.append((*place, "lpips_alex", "", NO_LPIPS))
            if goal == "x_H_rec":
                in_features = row.startswith(("feature", "fsr"))
                lines.append((*place, "feature_l1", *((f"{NOISE[row]:.8g}", "") if in_features else ("", NO_FEATURE))))
    return lines
