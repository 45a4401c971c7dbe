import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from fsr.config import Perceptual
from fsr.metrics import perceptual
from fsr.metrics.perceptual import LEAST_SIDE, ST_LPIPS_WEIGHTS, PerceptualMetric, load_perceptual

FILES = {"lpips_alex": "alexnet-owt-7be5be79.pth", "lpips_vgg": "vgg16-397923af.pth"}
VGG_GROUPS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
VGG_WIDTHS = (64, 128, 256, 512, 512)


def vgg_layers() -> dict[int, tuple[int, int, int]]:
    """Channels in and out and side of the kernel of each convolution, by its index."""
    indices = [index for group in VGG_GROUPS for index in group]
    widths = [width for group, width in zip(VGG_GROUPS, VGG_WIDTHS, strict=True) for _ in group]
    return {index: (into, out, 3) for index, into, out in zip(indices, (3, *widths), widths, strict=False)}


LAYERS = {
    "lpips_alex": {0: (3, 64, 11), 3: (64, 192, 5), 6: (192, 384, 3), 8: (384, 256, 3), 10: (256, 256, 3)},
    "lpips_vgg": vgg_layers(),
}


def settings(**given: str) -> Perceptual:
    return Perceptual(**({"lpips_alex": "skip", "lpips_vgg": "skip", "st_lpips": "skip"} | given))


def only(**given: str) -> PerceptualMetric:
    (metric,) = load_perceptual(settings(**given), "cpu")
    return metric


def batch(seed: int, count: int = 3, side: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def st_lpips() -> PerceptualMetric:
    return only(st_lpips="require")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder in place of torch hub's, and no network."""

    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def random_backbone(name: str) -> dict[str, torch.Tensor]:
    source, weights = torch.Generator().manual_seed(0), {"classifier.1.bias": torch.zeros(3)}
    for index, (into, out, kernel) in LAYERS[name].items():
        scale = (2 / (into * kernel**2)) ** 0.5
        weights[f"features.{index}.weight"] = torch.randn(out, into, kernel, kernel, generator=source) * scale
        weights[f"features.{index}.bias"] = torch.randn(out, generator=source) * 0.1
    return weights


def distance(stages, network, images, targets) -> list[float]:
    """The formula: squared differences of features of unit length, weighted by channel, averaged over pixels, summed.

    Args:
        stages: makes the five features of images that are normalised.
        network: where the linear weights are.
    """
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    total = torch.zeros(len(images))
    pairs = zip(stages((2 * images - 1 - shift) / scale), stages((2 * targets - 1 - shift) / scale), strict=True)
    for number, (a, b) in enumerate(pairs):
        weight = getattr(network, f"lin{number}").model[-1].weight.view(-1, 1, 1)
        total += ((F.normalize(a, dim=1) - F.normalize(b, dim=1)).square() * weight).sum(dim=1).mean(dim=(1, 2))
    return total.tolist()


def alexnet_stages(weights):
    def stages(x):
        outputs = []
        for index, options in {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}.items():
            x = F.max_pool2d(x, 3, 2) if index in (3, 6) else x
            stride, padding = options
            x = F.conv2d(
                x, weights[f"features.{index}.weight"], weights[f"features.{index}.bias"], stride, padding
            ).relu()
            outputs.append(x)
        return outputs

    return stages


def vgg_stages(weights):
    def stages(x):
        outputs = []
        for group in VGG_GROUPS:
            x = F.max_pool2d(x, 2) if group[0] else x
            for index in group:
                x = F.conv2d(
                    x, weights[f"features.{index}.weight"], weights[f"features.{index}.bias"], padding=1
                ).relu()
            outputs.append(x)
        return outputs

    return stages


def test_skipped_metrics_are_not_loaded_and_the_others_come_in_order(hub):
    assert load_perceptual(settings(), "cpu") == []
    names = [metric.name for metric in load_perceptual(settings(lpips_vgg="auto", st_lpips="auto"), "cpu")]
    assert names == ["lpips_vgg", "st_lpips"]


@pytest.mark.parametrize("name", FILES)
def test_without_its_backbone_auto_gives_a_reason_and_no_number(hub, name):
    metric = only(**{name: "auto"})
    assert metric.network is None
    assert metric.reason == (
        f"weights {FILES[name]} of benchmark.perceptual.{name} are not at hand; set it to require to download them"
    )


@pytest.mark.parametrize("name", FILES)
def test_required_it_is_an_error_when_it_cannot_be_had(hub, name):
    with pytest.raises(
        FileNotFoundError, match=f"{FILES[name]} cannot be downloaded .no network.; fetch https.*put it"
    ):
        only(**{name: "require"})


def test_required_it_is_downloaded_and_checked_by_the_hash_in_its_name(hub, monkeypatch):
    def fetch(url, target, hash_prefix, progress):
        assert url.endswith(FILES["lpips_alex"])
        assert hash_prefix == "7be5be79"
        torch.save(random_backbone("lpips_alex"), target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    assert only(lpips_alex="require").network is not None


@pytest.mark.parametrize(("name", "stages"), [("lpips_alex", alexnet_stages), ("lpips_vgg", vgg_stages)])
def test_lpips_is_its_formula_on_the_backbone_at_hand(hub, name, stages):
    weights = random_backbone(name)
    torch.save(weights, hub / FILES[name])
    metric, a, b = only(**{name: "auto"}), batch(0), batch(1)
    expected = distance(stages(weights), metric.network, a, b)
    assert metric(a, b) == pytest.approx(sum(expected) / 3, rel=1e-4)
    assert metric(a[:1], b[:1]) == pytest.approx(expected[0], rel=1e-4)


def test_a_damaged_backbone_is_an_error_with_its_remedy(hub):
    file = hub / FILES["lpips_alex"]
    for content in (b"", b"no weights", b"PK"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="7be5be79.pth is damaged .*; delete it and fetch it again"):
            only(lpips_alex="auto")
    weights = random_backbone("lpips_alex")
    torch.save({name: value for name, value in weights.items() if name != "features.3.bias"}, file)
    with pytest.raises(ValueError, match="is damaged or holds no weights of this network"):
        only(lpips_alex="auto")


def test_no_code_of_a_backbone_file_is_run(hub, tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",))

    torch.save({"features.0.weight": Trap()}, hub / FILES["lpips_alex"])
    with pytest.raises(ValueError, match="is damaged or holds no weights"):
        only(lpips_alex="auto")
    assert not (tmp_path / "sprung").exists()


def test_st_lpips_needs_no_network_and_no_other_weights(hub, monkeypatch):
    assert only(st_lpips="auto").network is not None
    monkeypatch.setattr(perceptual, "ST_LPIPS_WEIGHTS", hub / "alex_shift_tolerant.pth")
    assert "install stlpips-pytorch again" in only(st_lpips="auto").reason
    with pytest.raises(FileNotFoundError, match="alex_shift_tolerant.pth of benchmark.perceptual.st_lpips"):
        only(st_lpips="require")


def test_st_lpips_is_its_formula_on_the_packages_weights(st_lpips):
    """Convolutions of stride 1, each stride of AlexNet's a blur of [1 2 1] and every second pixel."""
    weights = torch.load(ST_LPIPS_WEIGHTS, map_location="cpu", weights_only=True)
    binomial = torch.tensor([1.0, 2.0, 1.0])
    blur = (binomial[:, None] * binomial / 16)[None, None]

    def halved(x):
        kernel = blur.repeat(x.shape[1], 1, 1, 1)
        return F.conv2d(F.pad(x, (2,) * 4, mode="reflect"), kernel, groups=x.shape[1])[..., ::2, ::2]

    def conv(x, name, padding):
        return F.conv2d(x, weights[f"net.{name}.weight"], weights[f"net.{name}.bias"], padding=padding)

    def stages(x):
        outputs = [halved(conv(x, "slice1.0", 2)).relu()]
        for name, padding in (("slice2.5", 2), ("slice3.9", 1)):
            outputs.append(conv(halved(F.max_pool2d(outputs[-1], 3, 1)), name, padding).relu())
        for name in ("slice4.11", "slice5.13"):
            outputs.append(conv(outputs[-1], name, 1).relu())
        return outputs

    a, b = batch(0), batch(1)
    assert st_lpips(a, b) == pytest.approx(sum(distance(stages, st_lpips.network, a, b)) / 3, rel=1e-4)


def test_st_lpips_is_what_its_package_computes(st_lpips, monkeypatch):
    """Its package imports two others that it neither declares nor uses here."""
    for name, unused in (("IPython", "embed"), ("torchsummary", "summary")):
        module = ModuleType(name)
        setattr(module, unused, None)
        monkeypatch.setitem(sys.modules, name, module)
    from stlpips_pytorch import stlpips

    official = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
    a, b = batch(0), batch(1)
    with torch.inference_mode():
        expected = official(a, b, normalize=True).mean().item()
    assert st_lpips(a, b) == pytest.approx(expected, rel=1e-5)


def test_equal_images_have_no_distance_and_its_order_does_not_matter(st_lpips):
    a, b = batch(0), batch(1)
    assert st_lpips(a, a) == 0
    assert st_lpips(a, b) == pytest.approx(st_lpips(b, a))
    assert st_lpips(a, b) > 0


def test_st_lpips_hardly_sees_a_shift_of_a_pixel(st_lpips):
    """What it is made for, on an image with structure: less than noise of the same squared error."""
    image = F.interpolate(batch(0, 1, 24), size=96, mode="bicubic").clamp(0, 1)
    a, shifted = image[..., :64, :64], image[..., 1:65, 1:65]
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(2))
    noisy = a + noise * (a - shifted).square().mean().sqrt()
    assert st_lpips(a, shifted) < st_lpips(a, noisy) / 2


def test_the_mean_does_not_depend_on_the_size_of_a_batch_and_repeats_to_the_bit(st_lpips):
    a, b = batch(0), batch(1)
    alone = [st_lpips(a[index : index + 1], b[index : index + 1]) for index in range(3)]
    assert st_lpips(a, b) == pytest.approx(sum(alone) / 3, rel=1e-5)
    assert st_lpips(a, b) == st_lpips(a, b) == only(st_lpips="auto")(a, b)
    assert len(set(alone)) == 3


@pytest.mark.parametrize("name", LEAST_SIDE)
def test_what_is_too_small_is_refused_and_nothing_else(hub, name):
    if name in FILES:
        torch.save(random_backbone(name), hub / FILES[name])
    metric, least = only(**{name: "auto"}), LEAST_SIDE[name]
    with pytest.raises(RuntimeError), torch.inference_mode():
        metric.network(batch(0, 1, least - 1), batch(1, 1, least - 1))
    with pytest.raises(ValueError, match=f"{name} needs sides of {least} pixels or more, .*to skip"):
        metric(batch(0, 1, least - 1), batch(1, 1, least - 1))
    for side in range(least, least + 8):
        assert metric(batch(0, 1, side), batch(1, 1, side)) > 0


def test_images_and_targets_of_two_shapes_are_not_stretched_over_each_other(st_lpips):
    with pytest.raises(ValueError, match="st_lpips compares images of one shape"):
        st_lpips(batch(0), batch(1, 1))


def test_a_loaded_metric_is_frozen(st_lpips):
    assert not st_lpips.network.training
    assert not any(parameter.requires_grad for parameter in st_lpips.network.parameters())
