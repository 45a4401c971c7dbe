"""What readers call the rows, targets and metrics of the tables: the one place where these names stand."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from fsr.config import OtherField, Rivals
from fsr.config.rows import BICUBIC_AT, FSR, RivalRow, rival_rows

BASE, BASELINES = "feature_bicubic", ("feature_bicubic", "decoded_bicubic")
BICUBIC, CEILING, HR, LR = "bicubic", "vae_roundtrip", "hr", "lr"
PRIMARY, LOW = "x_H_rec", "lr"  # targets


def times(*scales: int) -> str:
    """What readers see of scales: "×2", or "×2 and ×4"."""
    return " and ".join(f"×{scale}" for scale in scales)


@dataclass(frozen=True)
class Row:
    """A row's name. Methods compete for the bold number; other kinds do not; images are only shown.

    Repeats are methods trained with another seed; variants are the field, or feature bicubic, at another cut or of
    another size. Both have chapters of their own, and stand among the rest where all numbers do.

    Attributes:
        of: what a diagnostic varies, or a repeat repeats: the row it is compared with.
        rival: the method of others it is; empty for rows of this study.
        trained: a rival trained here and decoded as it is: a picture of it stands for its method.
    """

    label: str
    kind: Literal["method", "diagnostic", "repeat", "variant", "ceiling", "image"]
    of: str = ""
    rival: str = ""
    trained: bool = False


Rows = Mapping[str, Row]

FIXED_ROWS = {
    "bicubic": Row("bicubic (pixels)", "method"),
    "decoded_bicubic": Row("decoded bicubic", "method"),
    "decoded_bicubic_ensemble": Row("decoded bicubic, self-ensemble", "method"),
    "latent_bicubic": Row("latent bicubic", "method"),
    "feature_bicubic": Row("feature bicubic", "method"),
    "fsr": Row("FSR one-step", "method"),
    "fsr_ensemble": Row("FSR one-step, self-ensemble", "method"),
    "fsr_euler2": Row("FSR Euler 2", "diagnostic", of=FSR),
    "fsr_euler4": Row("FSR Euler 4", "diagnostic", of=FSR),
    "fsr_heun4": Row("FSR Heun 4", "diagnostic", of=FSR),
    "fsr_eta0.03": Row("FSR stochastic 0.03", "diagnostic", of=FSR),
    "fsr_eta0.05": Row("FSR stochastic 0.05", "diagnostic", of=FSR),
    "fsr_eta0.10": Row("FSR stochastic 0.10", "diagnostic", of=FSR),
    **{name: Row(f"feature bicubic at {cut}", "variant") for name, cut in BICUBIC_AT.items()},
    "vae_roundtrip": Row("VAE round trip", "ceiling"),
    "hr": Row("high resolution", "image"),
    "lr": Row("low resolution", "image"),
}
PROPER = {"fsr": "FSR", "lua": "LUA", "lsrna": "LSRNA", "swinir": "SwinIR", "hat": "HAT", "span": "SPAN",
          "esrgan": "ESRGAN", "realesrgan": "Real-ESRGAN", "rcan": "RCAN", "edsr": "EDSR"}  # fmt: skip
BUDGETS = {"steps": "same steps", "time": "same time"}
AFTERS = {"ensemble": "self-ensemble", "matched": "means matched"}
NOISED = "with RNA noise (before re-denoising, not an output)"


def rows(rivals: Rivals) -> dict[str, Row]:
    """{name: row} of every row the study may have; a name that is not in it has no row."""
    others = rival_rows(rivals)
    return FIXED_ROWS | {name: _rival(row, rivals) for name, row in others.items()}


def _rival(row: RivalRow, rivals: Rivals) -> Row:
    if row.seed is not None:
        first = FIXED_ROWS[FSR] if row.method == FSR else _rival(replace(row, seed=None), rivals)
        return replace(first, label=f"{first.label}, seed {row.seed}", kind="repeat", of=row.repeats, trained=False)
    label = ", ".join(filter(None, (method_label(row.method), BUDGETS.get(row.budget), AFTERS.get(row.after))))
    if isinstance(rivals.methods[row.method], OtherField):
        return Row(label, "variant", of=FSR)
    if row.after == "noised":
        return Row(f"{label} {NOISED}", "diagnostic", of=row.model, rival=row.method)
    return Row(label, "method", rival=row.method, trained=row.budget is not None and not row.after)


def method_label(method: str) -> str:
    """What readers call a method of `rivals.methods`, or fsr."""
    return " ".join(PROPER.get(word, word) for word in method.split("_"))


TARGETS = {
    "x_H_rec": "x_H_rec, the VAE reconstruction",
    "hr": "hr, the raw high-resolution image",
    "lr": "lr, the low-resolution image",
}


@dataclass(frozen=True)
class Metric:
    """A metric's name with its unit, how many decimals a table shows, and which way is better.

    Attributes:
        better: +1 where higher is better, -1 where lower is, 0 where neither is: such a number is never the best.
    """

    label: str
    decimals: int
    better: Literal[-1, 0, 1] = -1


METRICS = {
    "psnr": Metric("PSNR (dB)", 2, better=1),
    "psnr_y": Metric("PSNR-Y (dB)", 2, better=1),
    "ssim": Metric("SSIM", 4, better=1),
    "ssim_y": Metric("SSIM-Y", 4, better=1),
    "rgb_l1": Metric("RGB L1", 4),
    "lpips_alex": Metric("LPIPS (alex)", 4),
    "lpips_vgg": Metric("LPIPS (vgg)", 4),
    "st_lpips": Metric("ST-LPIPS (alex)", 4),
    "lpips": Metric("LPIPS", 4),
    "hf_error": Metric("HF error", 4),
    "feature_l1": Metric("feature L1", 4),
    "base_psnr": Metric("base PSNR (dB)", 2, better=1),
    "base_ssim": Metric("base SSIM", 4, better=1),
    "base_l1": Metric("base L1", 5),
    "base_gradient_l1": Metric("base gradient L1", 5),
    "hf_energy": Metric("HF energy", 5, better=0),
    "hf_gain": Metric("HF gain over bicubic", 3, better=0),
    "lf_drift": Metric("LF drift", 4),
    "colour_shift": Metric("colour shift (8-bit levels)", 2),
}
PERCEPTUAL = ("lpips_alex", "lpips_vgg", "st_lpips", "lpips")
BASE_METRICS = ("base_psnr", "base_ssim", "base_l1", "base_gradient_l1", "hf_energy", "hf_gain", "lf_drift",
                "colour_shift")  # fmt: skip


@dataclass(frozen=True)
class Term:
    """A term of the probe's score: its column in probe.csv, its weight's key in params.yaml, its sign in the score."""

    label: str
    column: str
    weight: str
    sign: int


TERMS = (
    Term("missing HF", "missing_high_frequency", "high_frequency", +1),
    Term("FFT gap", "relative_fft_gap", "fft", +1),
    Term("LF drift", "relative_lf_drift", "low_frequency", -1),
    Term("sensitivity", "relative_sensitivity", "sensitivity", -1),
    Term("cost", "relative_cost", "cost", -1),
)
