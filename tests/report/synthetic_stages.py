"""Files of the synthetic experiment that are not of the benchmark's cells."""

import csv
from pathlib import Path

import numpy as np

from fsr.files import write_json
from fsr.report.chapters.distribution import COLUMNS as DISTRIBUTION_COLUMNS
from fsr.report.chapters.runtime import COLUMNS as RUNTIME_COLUMNS
from fsr.report.chapters.training import PUBLISHED_COLUMNS

COST = {"steps": 60, "seconds": 3725.4, "crops": 120, "data_wait_share": 0.0123, "skipped_steps": 0, "processes": 1,
        "peak_memory_gib": 1.25, "autocast": "float32", "parameters": 1234}  # fmt: skip
COSTS = [
    ("A thesis", "https://example.org/thesis", "magic", "×2", "8x GPU", "34.10", "272.8", "375000", "3.8M pairs"),
    ("Someone", "arXiv 1", "spell", "any scale", "1x GPU", "26", "26", "200000", "4.7M pairs"),
]
MODELS = ("lua_steps", "lsrna_steps")
FLAG = "rank-deficient: 3 samples for 1280 dimensions"


def write_machine(root: Path, scales: tuple[int, ...]) -> None:
    """What timing and the distribution metrics wrote."""
    lines = []
    for scale in scales:
        for row, stages in TIMES.items():
            for stage, (milliseconds, reason) in stages.items():
                relative = "" if milliseconds == "" else milliseconds / 40
                machine = ("cpu", "float32", 1, 5)
                lines.append(
                    (scale, 64, "image", row, stage, milliseconds, relative, 1.5, 1000, 0.25, *machine, reason)
                )
    write_csv(root / "runtime.csv", RUNTIME_COLUMNS, lines)
    place = (scales[0], "SetA", "paired", "Real")
    lines = [
        (*place, "bicubic", "efficientnet_lite0", "fd", 123.456, "", 3, 10, "", FLAG, ""),
        (*place, "bicubic", "efficientnet_lite0", "patch_kd", 0.04567, 0.002, 48, 160, 48, "", ""),
        (*place, "fsr", "efficientnet_lite0", "fd", 100.0, "", 3, 10, "", FLAG, ""),
        (*place, "fsr", "efficientnet_lite0", "patch_kd", "", "", "", "", "", "", "images are smaller than a patch"),
    ]
    write_csv(root / "distribution.csv", DISTRIBUTION_COLUMNS, lines)


TIMES = {
    "vae_roundtrip": {"encode": (20.0, ""), "decode": (40.0, ""), "total": (60.0, "")},
    "fsr": {"encode": (5.0, ""), "head": (4.0, ""), "model": (8.0, ""), "tail": (30.0, ""), "total": (47.0, "")},
    "lua_steps": {"total": ("", "out of memory at 64 pixels")},
}


def write_probe(root: Path) -> None:
    """What the probe wrote: three cuts, of which one failed."""
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
    write_csv(root / "probe.csv", columns, rows)
    _write_probe_companions(root)


def _write_probe_companions(root: Path) -> None:
    runtime = [("f1", 1.5, 8.0, 0.2, 0.4), ("f2", 2.5, 6.0, 0.3, 0.9), ("f3", "", "", "", "")]
    write_csv(root / "probe_runtime.csv", ("cut", "head_ms", "tail_ms", "peak_memory_gib", "prototype_score"), runtime)
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


def write_training(root: Path, rng: np.random.Generator) -> None:
    """What training wrote, of the field and of two rivals, and the searches of learning rates."""
    rows = []
    for step in range(1, 61):
        fall = np.exp(-step / 15) * rng.uniform(0.9, 1.1)
        pixel = f"{0.3 * fall:.5g}" if step % 2 == 0 else ""
        validation = [""] * 3
        if step % 10 == 0:
            validation = [f"{20 + 5 * (1 - fall):.4f}", f"{0.1 * fall:.4f}", f"{0.1 - fall:.4f}"]
        rows.append((step, 1e-3, f"{fall:.5g}", f"{0.5 * fall:.5g}", pixel, 3 * fall, 0, *validation))
    measured = ("validation_psnr", "validation_rgb_l1", "validation_margin")
    write_csv(root / "log.csv", ("step", "lr", "loss", "one_step", "rgb", "grad_norm", "skipped", *measured), rows)
    write_json(root / "runtime.json", COST)
    for index, model in enumerate(MODELS):
        write_json(root / f"rivals/{model}/runtime.json", COST | {"parameters": 2000 + index, "seconds": 100.0})
    for method, best in (("fsr", 1e-3), ("lua", 3e-3)):
        failed = method == "fsr"
        other = (
            {"validation_psnr": None, "reason": "not finite"} if failed else {"validation_psnr": 21.25, "reason": ""}
        )
        runs = [{"lr": 1e-3, "validation_psnr": 20.5, "reason": ""}, {"lr": 3e-3, **other}]
        write_json(root / f"rivals/{method}/search.json", {"method": method, "steps": 5, "runs": runs, "best": best})
    write_csv(root / "training_costs.csv", PUBLISHED_COLUMNS, COSTS)
    write_json(root / "cut.json", {"cut": "f2", "decided_by": "probe", "trials": []})


def write_csv(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    """Write lines as the stages do."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
