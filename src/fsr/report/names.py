"""What readers call the rows, targets and metrics of the tables: the one place where these names stand."""

from dataclasses import dataclass
from typing import Literal

FSR, BASE, BASELINES = "fsr", "feature_bicubic", ("feature_bicubic", "decoded_bicubic")
CEILING, HR, LR = "vae_roundtrip", "hr", "lr"
PRIMARY = "x_H_rec"


def times(*scales: int) -> str:
    """What readers see of scales: "×2", or "×2 and ×4"."""
    return " and ".join(f"×{scale}" for scale in scales)


@dataclass(frozen=True)
class Row:
    """A row's name. Methods compete for the bold number; diagnostics and the ceiling do not; images are only shown."""

    label: str
    kind: Literal["method", "diagnostic", "ceiling", "image"]


ROWS = {
    "bicubic": Row("bicubic (pixels)", "method"),
    "decoded_bicubic": Row("decoded bicubic", "method"),
    "latent_bicubic": Row("latent bicubic", "method"),
    "feature_bicubic": Row("feature bicubic", "method"),
    "fsr": Row("FSR one-step", "method"),
    "fsr_euler2": Row("FSR Euler 2", "diagnostic"),
    "fsr_euler4": Row("FSR Euler 4", "diagnostic"),
    "fsr_heun4": Row("FSR Heun 4", "diagnostic"),
    "fsr_eta0.03": Row("FSR stochastic 0.03", "diagnostic"),
    "fsr_eta0.05": Row("FSR stochastic 0.05", "diagnostic"),
    "fsr_eta0.10": Row("FSR stochastic 0.10", "diagnostic"),
    "vae_roundtrip": Row("VAE round trip", "ceiling"),
    "hr": Row("high resolution", "image"),
    "lr": Row("low resolution", "image"),
}

TARGETS = {"x_H_rec": "x_H_rec, the VAE reconstruction", "hr": "hr, the raw high-resolution image"}


@dataclass(frozen=True)
class Metric:
    """A metric's name with its unit, which way is better, and how many decimals a table shows."""

    label: str
    decimals: int
    higher_is_better: bool = False


METRICS = {
    "psnr": Metric("PSNR (dB)", 2, higher_is_better=True),
    "psnr_y": Metric("PSNR-Y (dB)", 2, higher_is_better=True),
    "ssim": Metric("SSIM", 4, higher_is_better=True),
    "ssim_y": Metric("SSIM-Y", 4, higher_is_better=True),
    "rgb_l1": Metric("RGB L1", 4),
    "lpips": Metric("LPIPS", 4),
    "hf_error": Metric("HF error", 4),
    "lf_drift": Metric("LF drift", 4),
    "feature_l1": Metric("feature L1", 4),
}


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
