"""Where autoencoders come from: folders, the hub's cache, a mirror, a server; and what is refused."""

import hashlib
import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from serving import COMMIT, Server
from tiny_models import tiny_of

from fsr.autoencoders import FrozenAutoencoder, load_autoencoder, loading, weights_sha256
from fsr.autoencoders.families import FAMILIES
from fsr.autoencoders.taef2 import DECODER_FILE, ENCODER_FILE, Taef2
from fsr.config import Vae

WEIGHTS = "diffusion_pytorch_model.safetensors"


def vae(family: str = "AutoencoderKL", path: Path | str = "embedded", **changes) -> Vae:
    values = {"subfolder": None, "revision": None, "dtype": "float32", "tile": None}
    return Vae(family=family, path=str(path), **(values | changes))


def assert_one_line(error: BaseException) -> None:
    assert "\n" not in str(error)


@pytest.fixture
def saved(tmp_path) -> Path:
    """A tiny AutoencoderKL as diffusers saves it."""
    tiny_of("AutoencoderKL").save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("subfolder", [None, "vae"])
def test_a_local_folder_is_loaded(tmp_path, family, subfolder):
    model = tiny_of(family)
    model.save_pretrained(tmp_path / (subfolder or ""))
    frozen = load_autoencoder(vae(family, tmp_path, subfolder=subfolder), "cpu")
    assert type(frozen.model) is FAMILIES[family].model
    assert weights_sha256(frozen) == weights_sha256(FrozenAutoencoder(model))
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_dtype_tile_and_memory_format_are_as_asked(saved):
    frozen = load_autoencoder(vae(path=saved, dtype="bfloat16", tile=128), "cpu")
    assert {value.dtype for value in frozen.model.state_dict().values()} == {torch.bfloat16}
    assert frozen.tile == 128
    assert frozen.model.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_subfolder_counts_and_not_what_lies_beside_it(saved):
    other = tiny_of("AutoencoderKL")
    other.decoder.conv_out.bias.data.fill_(7)
    other.save_pretrained(saved / "vae")
    assert load_autoencoder(vae(path=saved, subfolder="vae"), "cpu").model.decoder.conv_out.bias[0] == 7
    with pytest.raises(FileNotFoundError, match="no AutoencoderKL at .*, subfolder 'vea': give 'embedded', a local"):
        load_autoencoder(vae(path=saved, subfolder="vea"), "cpu")


def test_the_embedded_one_is_loaded():
    frozen = load_autoencoder(vae(), "cpu")
    assert (frozen.factor, frozen.latent_channels) == (8, 32)


@pytest.mark.parametrize("name", ["none", "a/b/c"])
def test_a_path_that_is_not_there_names_the_remedy(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="give 'embedded', a local folder .* or a hub id") as caught:
        load_autoencoder(vae(path=tmp_path / name), "cpu")
    assert_one_line(caught.value)


@pytest.mark.parametrize(
    ("asked", "config", "expected"),
    [
        (
            "AutoencoderKL",
            {"_class_name": "AutoencoderTiny"},
            "AutoencoderTiny, not AutoencoderKL; set vae.class to Auto",
        ),
        ("AutoencoderTiny", {"_class_name": "Taef2"}, "Taef2, not AutoencoderTiny; set vae.class to TAEF2$"),
        (
            "TAEF2",
            {"_class_name": "AutoencoderKLFlux2"},
            "AutoencoderKLFlux2, not TAEF2; set vae.class to AutoencoderKLF",
        ),
        ("AutoencoderKL", {"_class_name": "UNet2DModel"}, "UNet2DModel, not AutoencoderKL; give one of Auto.*, TAEF2$"),
        ("AutoencoderKL", {"width": 8}, "no class of diffusers, not AutoencoderKL; give one of"),
    ],
)
def test_another_class_is_refused_by_both_names(tmp_path, asked, config, expected):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"^vae.path '{tmp_path}' holds {expected}"):
        load_autoencoder(vae(asked, tmp_path), "cpu")


def refused(folder: Path, match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        load_autoencoder(vae(path=folder), "cpu")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_in_a_pickle_file_are_not_loaded(saved):
    torch.save(load_file(saved / WEIGHTS), saved / "diffusion_pytorch_model.bin")
    (saved / WEIGHTS).unlink()
    refused(saved, r"no diffusion_pytorch_model.safetensors .*\(pickle files are not loaded\); fetch it again")


@pytest.mark.parametrize("kept", [0, 100, 20_000])
def test_damaged_weights_are_refused(saved, kept):
    (saved / WEIGHTS).write_bytes((saved / WEIGHTS).read_bytes()[:kept])
    refused(saved, "no diffusion_pytorch_model.safetensors that is whole and fits it")


def test_weights_of_another_shape_than_configured_are_refused(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"latent_channels": 8}))
    refused(saved, "no diffusion_pytorch_model.safetensors that is whole and fits it")


def test_weights_that_are_missing_are_not_drawn_at_random(saved):
    """As diffusers does, with a warning."""
    weights = load_file(saved / WEIGHTS)
    del weights["decoder.conv_out.bias"], weights["encoder.conv_in.weight"]
    save_file(weights, saved / WEIGHTS, metadata={"format": "pt"})
    refused(saved, r"lacks 2 weights \(decoder.conv_out.bias, ...\); fetch it again")


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """An empty cache of the hub's client, which is offline."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("subfolder", "revision"), [(None, None), ("vae", None), ("vae", COMMIT)])
def test_offline_a_hub_id_is_found_in_the_hubs_cache(cache, family, subfolder, revision):
    model = tiny_of(family)
    repository = cache / "models--org--name"
    model.save_pretrained(repository / "snapshots" / COMMIT / (subfolder or ""))
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    frozen = load_autoencoder(vae(family, "org/name", subfolder=subfolder, revision=revision), "cpu")
    assert weights_sha256(frozen) == weights_sha256(FrozenAutoencoder(model))


@pytest.mark.parametrize("family", FAMILIES)
def test_offline_a_hub_id_that_is_not_in_the_cache_names_the_remedy(cache, family):
    match = f"^no {family} at vae.path 'org/name', subfolder 'vae': .*hub id that you can reach .*unset HF_HUB_OFFLINE$"
    with pytest.raises(FileNotFoundError, match=match):
        load_autoencoder(vae(family, "org/name", subfolder="vae"), "cpu")


def test_offline_a_hub_id_whose_weights_are_not_in_the_cache_names_the_remedy(cache, saved):
    snapshot = cache / "models--org--name/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    shutil.copy(saved / "config.json", snapshot)
    with pytest.raises(
        ValueError, match="'org/name' has a config.json, but no .*; fetch it again, or unset HF_HUB_OFF"
    ):
        load_autoencoder(vae(path="org/name", revision=COMMIT), "cpu")


def test_a_hub_out_of_reach_names_the_remedy(cache, monkeypatch):
    with Server() as stopped:
        monkeypatch.setattr(constants, "ENDPOINT", stopped.url)
        template = stopped.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(FileNotFoundError, match=r"hub id that you can reach and are allowed to read \(HF_TOKEN\)$"):
        load_autoencoder(vae(path="org/name"), "cpu")


@pytest.fixture
def files(monkeypatch, tmp_path) -> dict[str, bytes]:
    """The bytes of a random TAEF2's two files, registered as if they were the published ones; no mirror, no cache."""
    torch.manual_seed(0)
    model, written = Taef2(), {}
    for part, name in ((model.encoder, ENCODER_FILE), (model.decoder, DECODER_FILE)):
        torch.save(part.state_dict(), tmp_path / name)
        written[name] = (tmp_path / name).read_bytes()
    registered = {name: (len(body), hashlib.sha256(body).hexdigest()) for name, body in written.items()}
    monkeypatch.setattr(loading, "TAEF2_FILES", registered)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("FSR_MIRROR", raising=False)
    return written


@pytest.fixture
def source(monkeypatch, files):
    """A server that publishes them."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        for name, body in files.items():
            server.put(f"/taesd/{name}", body)
        monkeypatch.setattr(loading, "TAEF2_SOURCE", server.url + "/taesd")
        yield server


def test_public_files_are_fetched_once_and_kept(files, source, tmp_path):
    first = load_autoencoder(vae("TAEF2", "public"), "cpu")
    assert sorted(request.path for request in source.requests) == [f"/taesd/{name}" for name in sorted(files)]
    for name, body in files.items():
        assert (tmp_path / "torch/hub/checkpoints" / name).read_bytes() == body
    second = load_autoencoder(vae("TAEF2", "public"), "cpu")
    assert len(source.requests) == 2
    assert weights_sha256(first) == weights_sha256(second)


def test_public_files_that_changed_at_their_source_are_refused(files, source):
    body = files[DECODER_FILE]
    source.put(f"/taesd/{DECODER_FILE}", body[:-1] + bytes([body[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"{DECODER_FILE} is not the file expected"):
        load_autoencoder(vae("TAEF2", "public"), "cpu")


def test_what_is_registered_is_what_is_asked_for(monkeypatch, tmp_path):
    asked = {}

    def record(url, target, *, sha256, size):
        asked[url] = (Path(target), size, sha256)
        raise ConnectionError("asked")

    monkeypatch.setattr(loading, "download", record)
    monkeypatch.delenv("FSR_MIRROR", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ConnectionError, match="asked"):
        load_autoencoder(vae("TAEF2", "public"), "cpu")
    ((url, (target, size, sha256)),) = asked.items()
    assert url == f"https://raw.githubusercontent.com/madebyollin/taesd/main/{ENCODER_FILE}"
    assert target == tmp_path / "hub/checkpoints" / ENCODER_FILE
    assert (size, sha256) == loading.TAEF2_FILES[ENCODER_FILE]


@pytest.fixture
def mirror(files, tmp_path) -> Path:
    folder = tmp_path / "mirror/vae/taef2"
    folder.mkdir(parents=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)
    return tmp_path / "mirror"


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_mirror_comes_before_the_source(mirror, source, monkeypatch, by):
    if by == "environment":
        monkeypatch.setenv("FSR_MIRROR", str(mirror))
    frozen = load_autoencoder(vae("TAEF2", "public"), "cpu", str(mirror) if by == "argument" else None)
    assert source.requests == []
    expected = Taef2.from_public_files(mirror / "vae/taef2")
    assert weights_sha256(frozen) == weights_sha256(FrozenAutoencoder(expected))


@pytest.mark.parametrize("name", [ENCODER_FILE, DECODER_FILE])
def test_a_mirrors_wrong_file_is_refused_and_not_replaced(mirror, source, name):
    path = mirror / "vae/taef2" / name
    body = path.read_bytes()
    path.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"^{path} is not the published file; fetch it again from {source.url}/taesd$"):
        load_autoencoder(vae("TAEF2", "public"), "cpu", str(mirror))
    assert source.requests == []


def test_a_mirror_without_the_files_is_passed_over(mirror, source):
    shutil.rmtree(mirror / "vae")
    load_autoencoder(vae("TAEF2", "public"), "cpu", str(mirror))
    assert len(source.requests) == 2


def test_a_mirror_that_is_not_there_is_refused(files, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="the mirror .*nowhere is not a folder; correct data.mirror or FSR_MIRR"
    ):
        load_autoencoder(vae("TAEF2", "public"), "cpu", str(tmp_path / "nowhere"))
