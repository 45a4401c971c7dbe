from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save_file
from spandrel import ImageModelDescriptor, ModelTiling, SizeRequirements
from spandrel.architectures.Compact import Compact, CompactArch
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.HAT import HAT
from spandrel.architectures.SPAN import SPAN
from spandrel.architectures.SwinIR import SwinIR
from torch import nn

from fsr.upscalers.base import Sample
from fsr.upscalers.pixel import Pixel, enlarged_in_tiles, load_pixel_model, tiles


def compact(scale: int = 2, channels: int = 3, out: int = 3) -> nn.Module:
    return Compact(num_in_ch=channels, num_out_ch=out, num_feat=8, num_conv=2, upscale=scale)


def swinir(scale: int = 2) -> nn.Module:
    sizes = {"embed_dim": 8, "depths": [2], "num_heads": [2], "window_size": 8, "img_size": 16}
    return SwinIR(upscale=scale, upsampler="pixelshuffle", mlp_ratio=2, **sizes)


def hat() -> nn.Module:
    sizes = {"embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 8, "img_size": 16}
    return HAT(upscale=2, upsampler="pixelshuffle", squeeze_factor=6, **sizes)


ARCHITECTURES = {
    "SwinIR": swinir,
    "RealESRGAN Compact": compact,
    "SPAN": lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2),
    "ESRGAN": lambda: ESRGAN(scale=2, num_filters=8, num_blocks=1),
    "HAT": hat,
}


def saved(model: nn.Module, path):
    """Its weights, random and small enough that its output stays inside [0, 1] mostly."""
    save_file({name: value.clone().contiguous() for name, value in model.state_dict().items()}, path)
    return path


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES[name]().eval()


def image(height: int = 24, width: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def tiny(tmp_path) -> ImageModelDescriptor:
    torch.manual_seed(0)
    return load_pixel_model(saved(compact(), tmp_path / "compact.safetensors"))


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_real_architectures_are_read_and_run(tmp_path, autoencoder, name):
    model = built(name)
    torch.save({"params": model.state_dict()}, tmp_path / "model.pth")
    row = Pixel(load_pixel_model(tmp_path / "model.pth"), "pixel", "image", None)
    assert row.model.architecture.name == name
    assert not row.model.model.training
    assert row.capabilities.parameters == sum(parameter.numel() for parameter in model.parameters())
    sample = Sample(autoencoder, image(), 2)
    rendered = row(sample).image
    assert rendered.shape == (1, 3, 48, 64)
    assert torch.allclose(rendered, model(sample.x_L).clamp(0, 1), atol=1e-5)
    assert rendered.std() > 0


@torch.no_grad()
def test_it_enlarges_the_decode_or_the_image_within_its_range(autoencoder, tiny):
    sample = Sample(autoencoder, image(), 2)
    sample.x_L_rec = 3 * image(seed=1) - 1
    from_image, from_decode = (Pixel(tiny, "pixel", source, None) for source in ("image", "decoded"))
    assert torch.equal(from_image(sample).image, tiny(sample.x_L))
    assert torch.equal(from_decode(sample).image, tiny(sample.x_L_rec.clamp(0, 1)))
    assert not torch.allclose(from_decode(sample).image, from_image(sample).image)
    assert (from_image.capabilities.entry, from_decode.capabilities.entry) == ("image", "latent")
    assert from_image.capabilities.scales == (2,)


@pytest.mark.parametrize(
    ("source", "stages", "made"), [("image", ["model"], set()), ("decoded", ["encode", "decode", "model"], {"z_L"})]
)
@torch.no_grad()
def test_work_is_done_in_its_stage(autoencoder, tiny, source, stages, made):
    seen, sample = [], Sample(autoencoder, image(), 2)

    @contextmanager
    def clock(stage):
        seen.append(stage)
        yield

    Pixel(tiny, "pixel", source, None)(sample, clock)
    assert seen == stages
    assert {"z_L"} & vars(sample).keys() == made


@pytest.mark.parametrize("sides", [(70, 90), (33, 20), (64, 131)], ids=str)
@pytest.mark.parametrize("tile", [32, 48, 64])
@torch.no_grad()
def test_tiles_of_a_convolutional_model_make_the_whole(tiny, sides, tile):
    """Compact sees four pixels far here, less than the eight of the smallest margin."""
    x, calls = image(*sides), []
    whole = tiny(x)
    tiny.model.register_forward_hook(lambda _, given, __: calls.append(given[0].shape[-2:]))
    assert torch.allclose(enlarged_in_tiles(tiny, x, tile), whole, atol=1e-6)
    assert len(calls) > 1 or max(sides) <= tile
    assert all(max(shape) <= tile for shape in calls)


class Unshuffling(nn.Module):
    """Works on 4x4 blocks, as models with a pixel unshuffle do: a shift by one pixel changes everything."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(48, 192, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pixel_shuffle(self.conv(nn.functional.pixel_unshuffle(x, 4)), 8)


def described(model: nn.Module, **changes) -> ImageModelDescriptor:
    flags = {"purpose": "SR", "scale": 2, "supports_half": False, "supports_bfloat16": False, "tags": []} | changes
    return ImageModelDescriptor(
        model.eval(), model.state_dict(), CompactArch(), input_channels=3, output_channels=3, **flags
    )


@pytest.mark.parametrize("sides", [(70, 90), (64, 64), (33, 51)], ids=str)
@pytest.mark.parametrize("tile", [32, 45])
@torch.no_grad()
def test_tiles_stand_where_the_models_blocks_do(sides, tile):
    model = described(Unshuffling(), size_requirements=SizeRequirements(multiple_of=4))
    x = image(*sides)
    assert torch.allclose(enlarged_in_tiles(model, x, tile), model(x), atol=1e-6)


@pytest.mark.parametrize("multiple", [1, 4, 16])
@pytest.mark.parametrize("tile", [64, 100, 256])
@pytest.mark.parametrize("length", [1, 63, 65, 257, 1000, 1023])
def test_kept_parts_fill_the_image_and_lie_well_inside_their_tiles(length, tile, multiple):
    spans, margin = list(tiles(length, tile, multiple)), min(32, tile // 4) // multiple * multiple
    assert [span.start for span in spans] == [0, *(span.stop for span in spans[:-1])]
    assert spans[-1].stop == length
    for span in spans:
        assert span.begin % multiple == 0
        assert 0 <= span.begin <= span.start < span.stop <= span.end <= length
        assert span.end - span.begin <= tile
        assert span.begin == 0 or span.start - span.begin >= margin
        assert span.end == length or span.end - span.stop >= margin


@torch.no_grad()
def test_a_model_with_attention_comes_close_in_tiles(tmp_path):
    torch.manual_seed(0)
    model = load_pixel_model(saved(swinir(), tmp_path / "swinir.safetensors"))
    x = image(80, 96)
    assert model.tiling is ModelTiling.DISCOURAGED
    assert (enlarged_in_tiles(model, x, 64) - model(x)).abs().mean() < 0.02


def test_what_cannot_be_tiled_is_not(tiny):
    internal = described(compact(), tiling=ModelTiling.INTERNAL)
    with pytest.raises(ValueError, match="own: this model makes its own tiles; set tile to null"):
        Pixel(internal, "own", "image", 64)
    Pixel(internal, "own", "image", None)
    for requirements, least in ((SizeRequirements(minimum=64), 64), (SizeRequirements(multiple_of=16), 64)):
        with pytest.raises(ValueError, match=f"needs tiles of {least} pixels or more, not 32"):
            Pixel(described(compact(), size_requirements=requirements), "pixel", "image", 32)
        Pixel(described(compact(), size_requirements=requirements), "pixel", "image", least)


def test_another_scale_is_refused_before_anything_is_computed(autoencoder, tiny):
    sample = Sample(autoencoder, image(), 4)
    with pytest.raises(ValueError, match="pixel: this model enlarges 2 times, not 4"):
        Pixel(tiny, "pixel", "decoded", None)(sample)
    assert "z_L" not in vars(sample)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match="put the file there"):
        load_pixel_model(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read as tensors"):
        load_pixel_model(path)
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="of no architecture spandrel knows"):
        load_pixel_model(path)
    state = compact().state_dict()
    save_file({name: value for name, value in state.items() if name != "body.2.weight"}, path)
    with pytest.raises(ValueError, match="looks like a model and does not load as one"):
        load_pixel_model(path)


def test_models_for_something_else_are_refused(tmp_path):
    with pytest.raises(ValueError, match="for Restoration; choose one for super-resolution"):
        load_pixel_model(saved(compact(scale=1), tmp_path / "restoring.safetensors"))
    with pytest.raises(ValueError, match="makes 1 to 1 channels; choose a model from RGB to RGB"):
        load_pixel_model(saved(compact(channels=1, out=1), tmp_path / "grey.safetensors"))
