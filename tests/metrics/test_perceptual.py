import pytest
import torch

from fsr.metrics.perceptual import load_lpips


class Distance(torch.nn.Module):
    """Stands in for the network where its backbone cannot be downloaded: the interface is lpips.LPIPS's."""

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()

    def forward(self, a, b):
        assert a.min() < 0, "images come in [-1, 1]"
        return (a - b).abs().mean(dim=(1, 2, 3), keepdim=True)


def test_without_its_backbone_auto_gives_a_reason_and_no_number(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    lpips = load_lpips("auto", "cpu")
    assert lpips.network is None
    assert "alexnet-owt-7be5be79.pth is not at hand; set benchmark.lpips to alex" in lpips.reason


def test_asked_for_by_name_it_is_an_error_when_it_cannot_be_had(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def unreachable(**_):
        raise OSError("no network")

    with pytest.raises(FileNotFoundError, match="LPIPS .vgg. was asked for but .* put it into"):
        load_lpips("vgg", "cpu", unreachable)


def test_with_its_backbone_it_measures(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/alexnet-owt-7be5be79.pth").touch()
    lpips = load_lpips("auto", "cpu", Distance)
    assert lpips(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.25)) == pytest.approx(0.5)


def test_the_real_lpips_package_has_the_interface_we_use():
    """Its own linear weights come with it; only the backbone's are random here."""
    from lpips import LPIPS

    network = LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    lpips = load_lpips("alex", "cpu", lambda net, verbose: network)
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert lpips(x, x) == 0
    assert lpips(x, 1 - x) > 0
