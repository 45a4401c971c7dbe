import json
import subprocess

import pytest
import torch

from fsr.provenance import autoencoder_of, git_state, module_sources, write_provenance


def names(*modules):
    return {file.name for file in module_sources(*modules)}


def test_sources_follow_imports_and_nothing_else():
    assert {"trainer.py", "field.py", "objective.py", "latents.py", "method.py"} <= names("train")
    assert "runtime.py" not in names("train")
    assert names("files") == {"files.py"}


def test_importing_a_name_from_a_package_follows_the_package():
    assert {"frozen.py", "split.py"} <= names("flow.path")


def test_an_unknown_module_is_refused():
    with pytest.raises(ValueError, match="no module fsr.nothing"):
        module_sources("nothing")


def git(folder, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_commit_is_named_and_so_is_what_differs_from_it(tmp_path):
    """What results are made by, that is: not what they are, nor what DVC notes of them."""
    assert git_state(tmp_path) == {"commit": None, "dirty": None}
    git(tmp_path, "init")
    (tmp_path / "src").mkdir()
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "src/code.py").write_text("1")
    (tmp_path / "data/datasets.csv").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True).stdout.strip()
    assert git_state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "dvc.lock").write_text("{}")
    (tmp_path / "data/raw/set.json").write_text("{}")
    assert git_state(tmp_path) == {"commit": commit, "dirty": False}
    for name in ("src/code.py", "data/datasets.csv"):
        (tmp_path / name).write_text("2")
        assert git_state(tmp_path) == {"commit": commit, "dirty": True}
        git(tmp_path, "checkout", name)
    (tmp_path / "src/new.py").touch()
    assert git_state(tmp_path) == {"commit": commit, "dirty": True}


def test_a_provenance_has_all_that_made_a_result(tmp_path, values):
    cache = tmp_path / "manifest.json"
    cache.write_text(json.dumps({"made_by": {"autoencoder": "abc"}}))
    sidecar = tmp_path / "train/provenance.json"
    given = {
        "rule": "train_field",
        "params": values,
        "wildcards": {"cut": "f3"},
        "threads": 2,
        "inputs": [tmp_path / "code.py", cache],
        "repository": tmp_path,
    }
    write_provenance(sidecar, outputs=[tmp_path / "train/model/config.json", tmp_path / "pictures"], **given)
    first = sidecar.read_bytes()
    told = json.loads(first)
    assert told["outputs"] == ["../pictures", "model/config.json"], "found from the sidecar, wherever the study lies"
    assert told["params"] == values
    assert (told["autoencoder"], told["seed"], told["threads"], told["device"]) == ("abc", values["seed"], 2, "cpu")
    assert told["packages"]["torch"] == torch.__version__.split("+")[0]
    assert {"python", "machine", "dtype", "git", "rule", "wildcards"} <= told.keys()
    write_provenance(sidecar, outputs=[tmp_path / "pictures", tmp_path / "train/model/config.json"], **given)
    assert sidecar.read_bytes() == first, "the same run says the same"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"autoencoder": "of a field"}, "of a field"),
        ({"made_by": {"autoencoder": "of a cache"}}, "of a cache"),
        ({"cut": "f3"}, None),
        (["a list"], None),
    ],
)
def test_the_autoencoder_is_read_from_whatever_names_it(tmp_path, content, named):
    (tmp_path / "input.json").write_text(json.dumps(content))
    assert autoencoder_of([tmp_path / "weights.safetensors", tmp_path / "input.json"]) == named
