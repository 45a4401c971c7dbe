"""The package as a wheel, installed where nothing of the repository is at hand."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from small_fields import noise

from fsr.images import read_image, write_image

pytest.importorskip("setuptools", "77", "an older setuptools cannot build the wheel; pip install -U setuptools")

SOURCES = ("pyproject.toml", "README.md", "LICENSE")

USE = """
import json, sys, threading, urllib.request
from pathlib import Path

import fsr
from fsr import cli
from safetensors.torch import save_file

codes = {}

def run(*arguments):
    sys.argv = ["fsr", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        codes[arguments[0]] = ended.code or 0

run("upscale", "in", "-o", "out", "--json")
run("compare", "in", "out", "-o", "page.html", "--names", "before,after")

from fsr.decoder import FSRDecoder
from fsr.demo.server import Demo
from fsr.demo.workbench import Workbench
from fsr.images import read_image
from fsr.loading import DEFAULT_MODEL, load_pipeline

pipeline = load_pipeline()
save_file({"z": pipeline.autoencoder.encode(read_image("in/a.png"))[0].contiguous()}, "z.safetensors")
run("decode", "z.safetensors", "-o", "decoded")
run("doctor")
FSRDecoder.from_pretrained(DEFAULT_MODEL).save_pretrained("published")
with Demo(Workbench(pipeline, 10**6), 0) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(server.url).read().decode()
    server.shutdown()
Path("seen.json").write_text(json.dumps({"package": fsr.__file__, "codes": codes, "page": page}))
"""


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """Built from a copy, which leaves the repository alone."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(root / "src/fsr", folder / "copy/src/fsr", ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copyfile(root / name, folder / "copy" / name)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, folder], cwd=folder / "copy", capture_output=True, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def user(wheel, tmp_path_factory) -> Path:
    """The folder of somebody who installed it: `in` with pictures, and what came of using it; no network."""
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("user")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    write_image(folder / "in/a.png", noise(16, 24))
    write_image(folder / "in/an odd name [1].png", noise(9, 7))
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    here = {"HOME": str(folder / "home"), "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FSR_", "HF_", "PYTHON"))}
    used = subprocess.run(
        [sys.executable, "-c", USE], cwd=folder, env=kept | nowhere | here, capture_output=True, text=True, check=False
    )
    assert used.returncode == 0, used.stderr
    (folder / "stdout").write_text(used.stdout)
    assert json.loads((folder / "seen.json").read_text())["package"] == str(site / "fsr/__init__.py")
    return folder


def test_every_file_of_the_package_is_in_the_wheel(root, wheel):
    files = {path.relative_to(root / "src").as_posix() for path in (root / "src/fsr").rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in files if "__pycache__" not in name} == {
            name for name in archive.namelist() if name.startswith("fsr/")
        }
        entries = next(name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        assert "fsr = fsr.cli:main" in archive.read(entries).decode()


def test_every_command_of_use_ends_well(user):
    seen = json.loads((user / "seen.json").read_text())
    assert seen["codes"] == {"upscale": 0, "compare": 0, "decode": 0, "doctor": 0}
    said = (user / "stdout").read_text()
    assert [json.loads(line)["status"] for line in said.splitlines() if line.startswith("{")] == ["done", "done"]
    assert "Images can be enlarged here. There is no study here" in said


def test_its_own_model_enlarges_by_exactly_two_and_decoding_gives_the_same(user):
    with torch.inference_mode():
        a, odd, decoded = (
            read_image(user / name) for name in ("out/a.png", "out/an odd name [1].png", "decoded/z.png")
        )
    assert (tuple(a.shape[-2:]), tuple(odd.shape[-2:])) == ((32, 48), (18, 14))
    torch.testing.assert_close(decoded, a, atol=1.01 / 255, rtol=0)


def test_pages_have_their_styles_and_scripts(user):
    for page in ((user / "page.html").read_text(), json.loads((user / "seen.json").read_text())["page"]):
        assert "class Viewer" in page and ".viewer {" in page and "--accent" in page


def test_a_model_is_saved_with_its_card(user):
    published = {path.name for path in (user / "published").iterdir()}
    assert published == {"README.md", "config.json", "diffusion_pytorch_model.safetensors"}


def test_nothing_is_left_but_what_was_asked_for(user):
    made = {"in", "out", "decoded", "published", "page.html", "z.safetensors", "seen.json", "stdout"}
    assert {path.name for path in user.iterdir()} - {"home"} == made
