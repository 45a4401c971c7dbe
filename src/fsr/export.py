"""The field and the tail as graphs for other runtimes (ONNX, torch.export), checked against what they are made of."""

import io
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fsr.autoencoders import FrozenAutoencoder
from fsr.files import sha256_of_file, write_atomically, write_json
from fsr.flow.field import VectorField
from fsr.progress import progress_bar
from fsr.randomness import generator
from fsr.upscalers import Fsr

Format = Literal["onnx", "torch"]
Compute = Callable[[Tensor], Tensor]

SUFFIXES = {"onnx": "onnx", "torch": "pt2"}
NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch": ()}
TRACED, OTHER = (8, 12), (14, 6)  # rows and columns, in what sides are multiples of
TOLERANCE = 1e-3  # of the largest value
ENLARGEMENT = (
    "features of the latent at the cut, enlarged by torch's bicubic (a = -0.75, align_corners=False, no antialias)"
)


class FieldGraph(nn.Module):
    """f_hat of f_B (1, C, H, W), both features of the cut, in one step at one scale; the statistics are in it."""

    def __init__(self, field: VectorField, scale: int) -> None:
        super().__init__()
        self.field, self.scale = field, scale

    def forward(self, f_B: Tensor) -> Tensor:
        return Fsr(self.field).carried(f_B, self.scale)


class TailGraph(nn.Module):
    """Images (1, 3, ., .) in [0, 1], not clamped, of f_hat (1, C, H, W)."""

    def __init__(self, autoencoder: FrozenAutoencoder, cut: str) -> None:
        super().__init__()
        self.autoencoder, self.cut = autoencoder, cut

    def forward(self, f_hat: Tensor) -> Tensor:
        return self.autoencoder.tail(f_hat, self.cut)


@dataclass(frozen=True)
class Graph:
    """A module to export: of features (1, channels, H, W), whose sides are multiples of `multiple`."""

    name: str
    module: nn.Module
    takes: str
    gives: str
    channels: int
    multiple: int
    enlarges: int

    def features(self, field: VectorField, size: tuple[int, int]) -> Tensor:
        """Features as the cut has them, of `size` in multiples."""
        sides = (side * self.multiple for side in size)
        noise = torch.randn(1, self.channels, *sides, generator=generator(0, "export", self.multiple))
        return field.denormalise(noise)


def graphs(field: VectorField, autoencoder: FrozenAutoencoder, scale: int) -> tuple[Graph, Graph]:
    """The field's and the tail's graph.

    Raises:
        ValueError: the field was not trained for `scale`.
    """
    if scale not in (known := list(field.config.scales)):
        raise ValueError(f"scale {scale} is not one this field was trained for; choose one of {known}")
    cut = autoencoder.decoder.cut(field.config.cut)
    field_graph = FieldGraph(field, scale).eval()
    tail_graph = TailGraph(autoencoder, cut.name).eval()
    return (
        Graph(f"field_x{scale}", field_graph, "f_B", "f_hat", cut.channels, field.config.patch, 1),
        Graph("tail", tail_graph, "f_hat", "image", cut.channels, 1, cut.stride),
    )


def export_networks(
    field: VectorField,
    autoencoder: FrozenAutoencoder,
    folder: Path,
    kind: Format,
    scale: int,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write field and tail, both in float32 on a CPU, as graphs with a manifest.json; that manifest.

    Heights and widths of the graphs are free, as the manifest says; the batch is one.

    Args:
        about: entries that the manifest begins with.

    Raises:
        ValueError: a package is missing, a network cannot be exported, or computes something else when it is.
        OSError: the folder cannot be written.
    """
    check_packages(kind)
    files = {}
    with progress_bar(f"export to {kind}", 2) as advance:
        for graph in graphs(field, autoencoder, scale):
            files[graph.name.partition("_")[0]] = _exported(graph, field, folder, kind)
            advance(graph.name)
    manifest = dict(about or {}) | {
        "format": kind,
        "scale": scale,
        "cut": field.config.cut,
        "statistics": "in the field's graph: it takes and gives features as they are",
        "f_B": ENLARGEMENT,
        "image": "RGB in [0, 1], not clamped",
        "packages": {name: version(name) for name in ("fsr", "torch", *NEEDED[kind])},
        **files,
    }
    write_json(folder / "manifest.json", manifest)
    return manifest


def check_packages(kind: Format) -> None:
    """Pass if everything a format needs is installed.

    Raises:
        ValueError: something is not.
    """
    if missing := [name for name in NEEDED[kind] if find_spec(name) is None]:
        raise ValueError(f"{', '.join(missing)} is not installed; pip install 'fsr[export]', or export --format torch")


@torch.no_grad()
def _exported(graph: Graph, field: VectorField, folder: Path, kind: Format) -> dict[str, Any]:
    """Write one graph; its entry in the manifest."""
    path, program = folder / f"{graph.name}.{SUFFIXES[kind]}", _traced(graph, field)
    checks: list[dict[str, Any]] = []

    def write(temporary: Path) -> None:
        compute = WRITERS[kind](graph, program, temporary)
        checks.extend(_compared(graph, compute, graph.features(field, size)) for size in (TRACED, OTHER))

    write_atomically(path, write)
    side = "" if graph.multiple == 1 else f"{graph.multiple} * "
    larger = "" if graph.enlarges == 1 else f"{graph.enlarges} * "
    return {
        "file": path.name,
        "sha256": sha256_of_file(path),
        "input": {"name": graph.takes, "dtype": "float32", "shape": [1, graph.channels, f"{side}h", f"{side}w"]},
        "output": {
            "name": graph.gives,
            "dtype": "float32",
            "shape": [1, graph.channels if graph.gives == "f_hat" else 3, f"{larger}{side}h", f"{larger}{side}w"],
        },
        "checks": checks,
    }


def _traced(graph: Graph, field: VectorField) -> ExportedProgram:
    """The graph as torch.export has it, of whatever height and width."""
    sides = {2: graph.multiple * Dim("h", min=1), 3: graph.multiple * Dim("w", min=1)}
    example = (graph.features(field, TRACED),)
    try:
        return torch.export.export(graph.module, example, dynamic_shapes=(sides,))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{graph.name} cannot be exported ({reason}); use another version of torch") from error


def _write_onnx(graph: Graph, program: ExportedProgram, path: Path) -> Compute:
    """Write a program as ONNX; what onnxruntime computes with the file."""
    import onnxruntime

    for library in ("onnxscript", "onnx_ir", "torch.onnx"):  # they tell of every constant that they fold
        logging.getLogger(library).setLevel(logging.ERROR)
    names = {"input_names": [graph.takes], "output_names": [graph.gives]}
    torch.onnx.export(program, dynamo=True, verbose=False, **names).save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda features: torch.from_numpy(session.run([graph.gives], {graph.takes: features.numpy()})[0])


def _write_torch(graph: Graph, program: ExportedProgram, path: Path) -> Compute:
    """Write a program as torch.export does; what torch computes with the file."""
    program.example_inputs = None  # they would be pickled
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found", UserWarning)  # matters not on a CPU, it says
        torch.export.save(program, buffer)
    path.write_bytes(buffer.getvalue())
    return torch.export.load(path).module()


WRITERS = {"onnx": _write_onnx, "torch": _write_torch}


def _compared(graph: Graph, compute: Compute, features: Tensor) -> dict[str, Any]:
    """How far what was exported is from the module, for features of one size.

    Raises:
        ValueError: farther than TOLERANCE.
    """
    expected, found = graph.module(features), compute(features)
    apart, largest = float((found - expected).abs().max()), float(expected.abs().max())
    if not apart <= TOLERANCE * largest:
        raise ValueError(
            f"the exported {graph.name} is off by {apart:.1e} where values reach {largest:.1e}; use other versions of "
            "torch and onnxruntime, or export to the other format"
        )
    return {"size": list(features.shape[-2:]), "max_abs_difference": apart, "max_abs_value": largest}
