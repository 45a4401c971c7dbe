"""Exported graphs compute what they were made from, at sizes they were not traced at."""

import importlib.util
import json
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from small_fields import moving_field
from tiny_models import tiny_model, tiny_of

from fsr import export
from fsr.autoencoders import FrozenAutoencoder
from fsr.cli import hub  # noqa: F401 - its commands
from fsr.config import Vae
from fsr.decoder import FSRDecoder
from fsr.export import check_packages, export_networks
from fsr.files import sha256_of_file
from fsr.upscalers import Fsr


@pytest.fixture
def saved(tmp_path) -> Path:
    """A decoder that was published to a folder, with its VAE in another."""
    tiny_model().save_pretrained(tmp_path / "vae")
    autoencoder = FrozenAutoencoder(tiny_model())
    place = {"path": str(tmp_path / "vae"), "subfolder": None, "revision": None, "dtype": "float32", "tile": None}
    field = moving_field(autoencoder, "f4", [2, 4], patch=2)
    torch.nn.init.normal_(field.body[0].out.weight, std=0.3)  # or the embedding of the scale moved nothing
    FSRDecoder.from_field(field, autoencoder, Vae(family="AutoencoderKL", **place)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def features(manifest: dict, height: int, width: int) -> torch.Tensor:
    channels = manifest["field"]["input"]["shape"][1]
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def expected_of(decoder: FSRDecoder, f_B: torch.Tensor, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    f_hat = Fsr(decoder.field).carried(f_B, scale)
    return f_hat, decoder.load_base().tail(f_hat, "f4")


def test_onnx_graphs_compute_field_and_tail_at_any_size(saved, fsr, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    code, out, _ = fsr("export", saved, "-o", tmp_path / "out", "--scale", "4")
    assert code == 0
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert out.count("off by at most") == out.count("of values up to") == 4
    run = {}
    for part in ("field", "tail"):
        entry = manifest[part]
        assert entry["sha256"] == sha256_of_file(tmp_path / "out" / entry["file"])
        assert len({tuple(check["size"]) for check in entry["checks"]}) == 2
        assert all(check["max_abs_difference"] <= 1e-3 * check["max_abs_value"] for check in entry["checks"])
        session = onnxruntime.InferenceSession(tmp_path / "out" / entry["file"], providers=["CPUExecutionProvider"])
        assert [each.name for each in session.get_inputs()] == [entry["input"]["name"]]
        assert [each.name for each in session.get_outputs()] == [entry["output"]["name"]]
        run[part] = lambda x, session=session, name=entry["input"]["name"]: session.run(None, {name: x.numpy()})[0]
    assert (manifest["format"], manifest["scale"], manifest["cut"]) == ("onnx", 4, "f4")
    assert manifest["fingerprint"] == FSRDecoder.from_pretrained(saved, use_safetensors=True).config.fingerprint
    assert manifest["field"]["input"]["shape"] == [1, 8, "2 * h", "2 * w"]
    assert manifest["tail"]["output"]["shape"] == [1, 3, "h", "w"]
    decoder = FSRDecoder.from_pretrained(saved, use_safetensors=True)
    for height, width in ((10, 52), (38, 6)):
        f_B = features(manifest, height, width)
        f_hat, image = expected_of(decoder, f_B, 4)
        found = torch.from_numpy(run["field"](f_B))
        torch.testing.assert_close(found, f_hat, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(torch.from_numpy(run["tail"](found)), image, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(f_hat, f_B, atol=1e-2), "the field moves it"


def test_torch_graphs_compute_field_and_tail_at_any_size(tmp_path, monkeypatch, recwarn):
    save = torch.export.save

    def speaking(*arguments):
        warnings.warn("No complete tensor found in the group! Returning the first one.", stacklevel=1)
        warnings.warn("something new", stacklevel=1)
        save(*arguments)

    monkeypatch.setattr(torch.export, "save", speaking)
    autoencoder = FrozenAutoencoder(tiny_of("AutoencoderTiny"))
    field = moving_field(autoencoder, "f1", [2], patch=4)
    manifest = export_networks(field, autoencoder, tmp_path, "torch", 2, {"autoencoder": "its hash"})
    assert manifest == json.loads((tmp_path / "manifest.json").read_text())
    said = {str(each.message) for each in recwarn}
    assert "something new" in said and not any("complete tensor" in each for each in said)
    assert manifest["autoencoder"] == "its hash" and "onnx" not in manifest["packages"]
    assert manifest["field"]["input"]["shape"] == manifest["field"]["output"]["shape"] == [1, 8, "4 * h", "4 * w"]
    assert manifest["tail"]["output"]["shape"] == [1, 3, "8 * h", "8 * w"]
    f_B = features(manifest, 20, 8)
    with torch.no_grad():
        f_hat = Fsr(field).carried(f_B, 2)
        expected, x = (f_hat, autoencoder.tail(f_hat, "f1")), f_B
    for part, target in zip(("field", "tail"), expected, strict=True):
        file = tmp_path / manifest[part]["file"]
        x = torch.export.load(file).module()(x)
        torch.testing.assert_close(x, target, atol=1e-5, rtol=1e-5)
        with zipfile.ZipFile(file) as archive:
            pickles = [each.filename for each in archive.infolist() if each.filename.endswith((".pt", ".pkl"))]
            assert all(archive.read(name) == b"" for name in pickles), "nothing is pickled"


def test_a_graph_that_computes_something_else_is_not_left_there(saved, tmp_path, monkeypatch):
    decoder = FSRDecoder.from_pretrained(saved, use_safetensors=True)
    write = export.WRITERS["torch"]

    def wrong(*arguments):
        compute = write(*arguments)
        return lambda f: compute(f) * 1.01

    monkeypatch.setitem(export.WRITERS, "torch", wrong)
    with pytest.raises(ValueError, match="field_x2 is off by"):
        export_networks(decoder.field, decoder.load_base(), tmp_path / "out", "torch", 2)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_missing_is_named_before_anything_is_done(saved, fsr, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    code, _, error = fsr("export", saved, "-o", tmp_path / "out")
    assert (
        code == 1
        and error == "error: onnxscript is not installed; pip install 'fsr[export]', or export --format torch\n"
    )
    assert not (tmp_path / "out").exists()
    check_packages("torch")


def test_a_scale_of_another_field_is_refused(saved, fsr, tmp_path):
    code, _, error = fsr("export", saved, "-o", tmp_path / "out", "--format", "torch", "--scale", "3")
    assert code == 1 and "choose one of [2, 4]" in error
    code, _, error = fsr("export", tmp_path / "nothing", "-o", tmp_path / "out", "--format", "torch")
    assert code == 1 and "no whole FSRDecoder" in error and error.count("\n") == 1
