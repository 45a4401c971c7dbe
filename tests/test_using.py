"""docs/using.md and the README: what they say to type is understood, and what they show in Python runs."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import tiny_flux
import typer
from diffusers import FluxPipeline
from PIL import Image
from small_fields import moving_field

from fsr import cli
from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Vae
from fsr.decoder import FSRDecoder


def section(root: Path, name: str) -> str:
    """docs/using.md, or what the README says of use."""
    text = (root / name).read_text()
    return text if name != "README.md" else text.split("## Use it\n")[1].split("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text: str) -> list[list[str]]:
    lines = [line for block in blocks(text, "bash") for line in block.splitlines() if line.startswith("fsr ")]
    return [shlex.split(line.partition(" >")[0], comments=True)[1:] for line in lines]


@pytest.mark.parametrize("name", ["docs/using.md", "README.md"])
def test_every_command_is_understood(root, name):
    known = typer.main.get_command(cli.app).commands
    found = commands(section(root, name))
    assert {"upscale", "decode", "compare", "demo", "doctor"} <= {command for command, *_ in found}
    for command, *arguments in found:
        known[command].make_context(command, arguments)


def test_every_link_leads_somewhere(root):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", section(root, "docs/using.md"))
    missing = [link for link in links if not (root / "docs" / link).exists()]
    assert len(links) >= 3 and missing == []


def test_the_readmes_python_is_the_pages(root):
    lines = [line for block in blocks(section(root, "README.md"), "python") for line in block.splitlines()]
    page = "".join(blocks(section(root, "docs/using.md"), "python"))
    assert lines and all(line.partition("  #")[0] in page for line in lines)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_pipeline_of_diffusers_is_used_as_the_page_shows(root, tmp_path, monkeypatch, capsys):
    """With a tiny pipeline in the place of FLUX, and images of 16 pixels in that of 512."""
    monkeypatch.chdir(tmp_path)
    tiny_flux.save_tiny_flux(tmp_path / "flux")
    frozen = FrozenAutoencoder(FluxPipeline.from_pretrained(tmp_path / "flux", use_safetensors=True).vae)
    place = {"path": str(tmp_path / "flux"), "subfolder": "vae", "revision": None}
    vae = Vae(family="AutoencoderKL", **place, dtype="float32", tile=None)
    FSRDecoder.from_field(moving_field(frozen, "f4", [2, 4], 2), frozen, vae).save_pretrained("flux-x2")
    [code] = blocks(section(root, "docs/using.md"), "python")
    assert "black-forest-labs/FLUX.1-dev" in code and code.count("512") == 4
    tiny = code.replace("black-forest-labs/FLUX.1-dev", str(tmp_path / "flux")).replace("512", "16")
    tiny = tiny.replace("pipe(", "pipe(num_inference_steps=1, max_sequence_length=8, prompt=")
    exec(compile(tiny, "docs/using.md", "exec"), {})
    with Image.open("lighthouse.png") as image:
        assert image.size == (32, 32)
    [decode] = [each for each in commands(section(root, "docs/using.md")) if "--packed" in each]
    monkeypatch.setattr(sys, "argv", ["fsr", *[each.replace("512", "16") for each in decode]])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code, capsys.readouterr().err
    with Image.open("decoded/lighthouse-0.png") as image:
        assert image.size == (32, 32)
