"""What `fsr doctor` finds, without a network and without showing a key."""

import io
import json
import socket
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from rich.console import Console
from typer.testing import CliRunner

from fsr import cli, doctor
from fsr.autoencoders.loading import TAEF2_FILES
from fsr.cli import doctor as _registered  # noqa: F401
from fsr.doctor import Finding, as_json, examine, healthy, look, packages, shown, system, weights
from fsr.doctor.sets import examine_sets
from fsr.images import write_image


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("it asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("FSR_MIRROR", raising=False)


@pytest.fixture
def here(root, monkeypatch):
    monkeypatch.chdir(root)
    return root


def by_name(findings) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def run(*arguments: object):
    return CliRunner().invoke(cli.app, ["doctor", *map(str, arguments)], env={"COLUMNS": "200"})


def test_the_default_study_can_run_here_and_every_section_is_looked_at(here):
    result = run("--json")
    found = json.loads(result.stdout)
    assert result.exit_code == (0 if found["healthy"] else 1)
    assert {item["section"] for item in found["findings"]} == {"system", "torch", "packages", "weights", "image sets"}
    states = {item["name"]: item["state"] for item in found["findings"]}
    for name in ("Python", "torch", "FSR's requirements", "embedded autoencoder", "Embedded5", "ST-LPIPS"):
        assert states[name] == "ok", name
    assert "looking at it" not in states
    lacking = [item for item in found["findings"] if item["state"] != "ok"]
    assert all(item["remedy"] for item in lacking), lacking


def test_the_table_shows_every_finding(here):
    result = run()
    assert result.exit_code == 0, result.output
    for text in ("Embedded5", "embedded autoencoder", "cpu", "The default study can run."):
        assert text in result.stdout


def finding(state: str, needed: str) -> Finding:
    return Finding("weights", "thing", state, "detail [x]", "do this", needed)


@pytest.mark.parametrize("state", ["ok", "missing", "broken"])
@pytest.mark.parametrize("needed", ["", "use", "study"])
def test_only_what_is_needed_makes_it_unhealthy_and_it_says_for_what(state, needed, monkeypatch):
    found = [finding("ok", "use"), finding("ok", "study"), finding(state, needed)]
    well = not needed or state == "ok"
    assert healthy(found) == as_json(found)["healthy"] == well
    monkeypatch.setattr(doctor, "examine", lambda *_: found)
    result = run()
    assert result.exit_code == (0 if well else 1)
    assert ("The default study lacks: thing." in result.stdout) != well
    assert ("The default study can run." in result.stdout) == well
    assert ("Images can be enlarged here." in result.stdout) == (well or needed == "study")
    assert ("To enlarge images, this lacks: thing." in result.stdout) == (not well and needed == "use")
    assert "detail [x]; do this" in result.stdout


def test_who_only_uses_it_needs_nothing_of_a_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packages, "STUDY", ("a-package-of-the-study",))
    extras = {"": [], "study": [packages.Requirement("a-package-of-the-study>=1")]}
    monkeypatch.setattr(packages, "requirements_by_extra", lambda: dict(extras))
    result = run()
    assert "a-package-of-the-study (study)" in result.stdout and "pip install 'fsr[study]'" in result.stdout
    assert result.exit_code == 0 and "Images can be enlarged here. There is no study here" in result.stdout
    (tmp_path / "params.yaml").write_text("")
    assert run().exit_code == 1


def test_a_key_is_named_and_never_shown(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert "set HF_TOKEN" in by_name(system.examine_system(None))["key of the hub"].remedy
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    found = list(system.examine_system(None))
    assert by_name(found)["key of the hub"].state == "ok"
    assert "secret" not in json.dumps(as_json(found))
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text("hf_secret")
    assert by_name(system.examine_system(None))["key of the hub"].state == "ok"


def test_little_memory_and_disk_are_named(monkeypatch):
    monkeypatch.setattr(system.shutil, "disk_usage", lambda _: system.shutil._ntuple_diskusage(10, 9, 1))
    disk = by_name(system.examine_system(None))["disk here"]
    assert (disk.state, disk.needed) == ("broken", "")
    assert "free some space" in disk.remedy


def test_a_missing_or_old_package_is_named_with_the_extra_that_installs_it(monkeypatch):
    whole = packages.version

    def version(name):
        if name in ("snakemake", "onnx"):
            raise PackageNotFoundError(name)
        return "0.0.1" if name == "rich" else whole(name)

    monkeypatch.setattr(packages, "version", version)
    found = by_name(packages.examine_packages())
    assert "FSR's requirements" not in found
    assert (found["rich"].state, found["rich"].needed) == ("broken", "use")
    assert found["rich"].remedy.startswith("pip install 'rich>=")
    snakemake = found["snakemake (study)"]
    assert (snakemake.state, snakemake.needed, snakemake.remedy) == ("missing", "study", "pip install 'fsr[study]'")
    onnx = next(item for name, item in found.items() if name.split(" ")[0] == "onnx")
    assert (onnx.state, onnx.needed) == ("missing", "")
    assert not found["dvc (study)"].needed


def test_the_hubs_cache_is_looked_at(monkeypatch, tmp_path):
    name = "FLUX.1-dev's autoencoder"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    missing = weights._hub(name, *weights.HUB[name])
    assert missing.state == "missing"
    assert "set HF_TOKEN, and: hf download black-forest-labs/FLUX.1-dev --include 'vae/*'" in missing.remedy
    repository = tmp_path / "models--black-forest-labs--FLUX.1-dev"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("abc")
    folder = repository / "snapshots/abc/vae"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert weights._hub(name, *weights.HUB[name]).state == "missing"
    (folder / weights.WEIGHTS).touch()
    assert weights._hub(name, *weights.HUB[name]) == Finding("weights", name, "ok", str(folder))


def test_damaged_weights_are_broken(tmp_path):
    assert weights._folder("it", tmp_path).state == "missing"
    (tmp_path / weights.CONFIG).write_text("{}")
    (tmp_path / weights.WEIGHTS).write_bytes(b"\xff" * 20)
    broken = weights._folder("it", tmp_path)
    assert (broken.state, broken.remedy, broken.needed) == ("broken", "install FSR again", "use")


def test_taef2_is_found_in_a_mirror(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert weights._taef2(None).state == "missing"
    folder = tmp_path / "mirror/vae/taef2"
    folder.mkdir(parents=True)
    for name in TAEF2_FILES:
        (folder / name).touch()
    assert weights._taef2(str(tmp_path / "mirror")).detail == str(folder)


def test_sets_are_found_in_a_mirror_and_otherwise_it_says_how_to_get_them(here, tmp_path):
    params, registry = here / "params.yaml", here / "data/datasets.csv"
    found = by_name(examine_sets(params, registry, None))
    assert found["Embedded5"].needed == "study"
    assert found["Embedded5"].detail == "5 images, installed packages"
    assert (found["Set5"].state, found["Set5"].needed) == ("missing", "")
    assert found["Set5"].remedy.startswith("fetched from eugenesiow/Set5")
    assert "manga109.org" in found["Manga109"].remedy
    for index in range(5):
        write_image(tmp_path / f"datasets/Set5/{index}.png", torch.zeros(1, 3, 4, 4))
    found = by_name(examine_sets(params, registry, str(tmp_path)))
    assert found["Set5"] == Finding("image sets", "Set5", "ok", f"5 images, {tmp_path / 'datasets/Set5'}")
    (tmp_path / "datasets/Set5/4.png").unlink()
    assert by_name(examine_sets(params, registry, str(tmp_path)))["Set5"].state == "broken"


def test_a_mirror_that_is_none_is_named_and_stops_nothing(here):
    found = examine(Path("params.yaml"), Path("data/datasets.csv"), "/nowhere")
    assert by_name(found)["mirror"].state == "broken"
    assert by_name(found)["Embedded5"].state == "ok"
    assert "looking at it" not in by_name(found)


def test_without_a_clone_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = by_name(examine_sets(Path("params.yaml"), Path("data/datasets.csv"), None))
    assert found["registry"].state == "missing"
    assert not found["registry"].needed


def test_looking_that_fails_is_a_finding(monkeypatch, here):
    monkeypatch.setattr(look, "examine_torch", lambda: 1 / 0)
    broken = by_name(examine(Path("params.yaml"), Path("data/datasets.csv")))["looking at it"]
    assert (broken.section, broken.needed) == ("torch", "use")
    assert "ZeroDivisionError" in broken.detail


def test_what_is_shown_needs_no_markup_of_riches():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(shown([finding("broken", "use")]))
    assert "detail [x]; do this" in console.export_text()
