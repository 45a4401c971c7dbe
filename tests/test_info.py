"""Which provenance belongs to a file, and what is said of it."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from typer.testing import CliRunner

from fsr import cli
from fsr.files import write_json
from fsr.info import describe, find_provenance, lists
from fsr.provenance import write_provenance

PARAMS = {"experiment": "small", "train": {"steps": 123, "from": "a/very/long/name" * 10}}
HASH = "0123456789abcdef" * 4


def provenance(outputs: list[str], **changed) -> dict:
    entries = {
        "rule": "train_field",
        "wildcards": {},
        "outputs": outputs,
        "git": {"commit": "4f3c2d1", "dirty": False},
        "autoencoder": HASH,
        "seed": 7,
        "threads": 2,
        "device": "cpu",
        "dtype": "float32",
        "python": "3.11.9",
        "packages": {"torch": "2.8.0", "diffusers": "0.35.1"},
        "params": PARAMS,
    }
    return entries | changed


def write_sidecar(path: Path, outputs: list[str], **changed) -> Path:
    return write_json(path, provenance(outputs, **changed))


def write_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def text_of(*arguments: Path | str) -> str:
    result = CliRunner().invoke(cli.app, ["info", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def json_of(path: Path) -> dict:
    return json.loads(text_of(path, "--json"))


@pytest.fixture
def project(tmp_path) -> Path:
    """A folder that holds a project."""
    write_file(tmp_path / "project/Snakefile")
    return tmp_path / "project"


@pytest.mark.parametrize(
    ("sidecar", "outputs", "file"),
    [
        ("provenance.json", ["log.csv"], "log.csv"),
        ("x2.provenance.json", ["x2.csv", "y.csv"], "y.csv"),
        ("provenance.json", ["model"], "model/config.json"),
        ("provenance.json", ["model/"], "model/a/b/c/weights.bin"),
        ("provenance.json", ["./a/../model/config.json"], "model/config.json"),
        ("benchmark/provenance.json", ["../metrics.json"], "metrics.json"),
        ("benchmark/x2/set.provenance.json", ["set.csv", "../../pictures/x2/set"], "pictures/x2/set/fsr/a.png"),
    ],
)
def test_a_file_belongs_to_the_sidecar_that_lists_it_or_a_folder_it_lies_in(project, sidecar, outputs, file):
    expected = write_sidecar(project / "results" / sidecar, outputs)
    found = find_provenance(write_file(project / "results" / file))
    assert found == (expected, provenance(outputs))


@pytest.mark.parametrize("outputs", [["log"], ["log.csv.bak"], ["other/log.csv"], ["model/log.csv"], []])
def test_a_name_alike_is_no_listing(project, outputs):
    write_sidecar(project / "provenance.json", outputs)
    assert find_provenance(write_file(project / "log.csv")) is None


@given(parts=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4), count=st.integers(1, 4))
def test_a_listed_folder_covers_everything_below_it_and_nothing_else(parts, count):
    sidecar, listed = Path("/results/provenance.json"), parts[:count]
    covered = lists(sidecar, {"outputs": ["/".join(listed)]}, Path("/results", *parts))
    assert covered
    assert not lists(sidecar, {"outputs": ["/".join(listed)]}, Path("/results", "d", *parts))
    assert not lists(sidecar, {"outputs": ["/".join([*parts, "below"])]}, Path("/results", *parts))


def test_the_nearest_sidecar_that_lists_it_counts(project):
    file = write_file(project / "train/model/config.json")
    write_sidecar(project / "train/model/provenance.json", ["other.json"])
    near = write_sidecar(project / "train/provenance.json", ["model"])
    write_sidecar(project / "provenance.json", ["train"])
    assert find_provenance(file)[0] == near
    near.unlink()
    assert find_provenance(file)[0] == project / "provenance.json"


def test_it_is_looked_for_at_most_six_folders_up_and_not_above_a_project(project):
    deep = write_file(project / "a/b/c/d/e/f/file.csv")
    sidecar = write_sidecar(project / "provenance.json", ["a"])
    assert find_provenance(deep)[0] == sidecar
    assert find_provenance(write_file(project / "a/b/c/d/e/f/g/file.csv")) is None
    write_file(project / "a/b/params.yaml")
    assert find_provenance(deep) is None
    inside = write_sidecar(project / "a/b/provenance.json", ["c"])
    assert find_provenance(deep)[0] == inside


def test_a_linked_file_belongs_where_the_link_lies(project):
    """A cache may hold the content, and a result's folder a link to it."""
    content = write_file(project / ".cache/7f/3a")
    sidecar = write_sidecar(project / "results/provenance.json", ["table.csv"])
    (project / "results/table.csv").symlink_to(content)
    assert find_provenance(project / "results/table.csv")[0] == sidecar


def test_a_relative_path_will_do(project, monkeypatch):
    sidecar = write_sidecar(project / "results/provenance.json", ["table.csv"])
    write_file(project / "results/table.csv")
    write_file(project / "data/x.csv")
    monkeypatch.chdir(project / "data")
    assert find_provenance("../results/table.csv")[0] == sidecar


def test_what_a_job_writes_is_read(project):
    """The sidecars of the workflow are those looked for here."""
    table = write_file(project / "results/x2/set.csv")
    cache = write_json(project / "results/manifest.json", {"made_by": {"autoencoder": HASH}})
    params = {"experiment": "small", "seed": 3, "runtime": {"device": "cpu", "dtype": "auto"}}
    sidecar = project / "results/x2/set.provenance.json"
    job = {"rule": "benchmark_set", "wildcards": {"set": "set", "scale": "2"}, "threads": 2}
    write_provenance(sidecar, outputs=[table], params=params, inputs=[cache], repository=project, **job)
    found = describe(table)
    assert found.sidecar == sidecar
    assert (found.provenance["autoencoder"], found.provenance["seed"]) == (HASH, 3)
    assert {"set", "small", "2", "benchmark_set"} <= set(text_of(table).replace(",", " ").replace(")", " ").split())


@pytest.mark.parametrize(
    ("git", "expected"),
    [
        ({"commit": "4f3c2d1", "dirty": True}, "4f3c2d1 and uncommitted changes"),
        ({"commit": "4f3c2d1", "dirty": False}, "4f3c2d1"),
        ({"commit": "4f3c2d1", "dirty": None}, "4f3c2d1, changes not known"),
        ({"commit": None, "dirty": None}, "not known"),
    ],
)
def test_the_block_says_where_a_file_comes_from(project, git, expected):
    file = write_file(project / "log.csv")
    write_sidecar(project / "provenance.json", ["log.csv"], git=git, wildcards={"scale": "2"})
    lines = text_of(file).splitlines()
    assert "table, 0 bytes" in " ".join(line.strip() for line in lines)
    rows = dict(line.rstrip().split("  ", 1) for line in lines if "  " in line.strip())
    rows = {name: value.strip() for name, value in rows.items()}
    assert rows["commit"] == expected
    assert rows["rule"] == "train_field (scale 2)"
    assert rows["autoencoder"] == HASH
    assert rows["device"] == "cpu, float32, threads 2"
    assert rows["seed"] == "7"
    assert rows["packages"] == "torch 2.8.0, diffusers 0.35.1"
    assert rows["params"] == "small (--params shows all)"
    assert "steps" not in text_of(file)


def test_parameters_are_yaml_where_asked_for(project):
    file = write_file(project / "log.csv")
    write_sidecar(project / "provenance.json", ["log.csv"])
    text = text_of(file, "--params")
    assert yaml.safe_load(text[text.index("experiment:") :]) == PARAMS


def test_brackets_in_names_are_shown_as_they_are(project):
    file = write_file(project / "[red]a.csv")
    write_sidecar(project / "provenance.json", [file.name], rule="[bold]")
    text = "".join(text_of(file).split())
    assert "[red]a.csv" in text
    assert "[bold]" in text


def test_json_is_the_sidecar_with_its_path(project):
    file = write_file(project / "log.csv")
    sidecar = write_sidecar(project / "provenance.json", ["log.csv"])
    expected = {"file": str(file), "kind": "table, 0 bytes", "sidecar": str(sidecar)} | provenance(["log.csv"])
    assert json_of(file) == expected
    assert json_of(sidecar) == expected | {"file": str(sidecar), "kind": json_of(sidecar)["kind"]}


@pytest.fixture
def weights(project) -> Path:
    """A network of 3 tensors of two dtypes, with its config.json."""
    file = project / "model/weights.safetensors"
    file.parent.mkdir()
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(5), "c": torch.zeros((), dtype=torch.bfloat16)}
    save_file(tensors, file, {"format": "pt", "long": "x" * 100})
    write_json(
        file.parent / "config.json",
        {"_class_name": "VectorField", "cut": "f4", "scales": [2], "autoencoder": HASH, "hidden": 64},
    )
    return file


def test_of_tensors_it_says_what_they_are_with_provenance_or_without(project, weights):
    config = {"class": "VectorField", "cut": "f4", "scales": [2], "autoencoder": HASH}
    holds = {"tensors": 3, "parameters": 12, "dtypes": {"F32": 2, "BF16": 1}, "config": config}
    alone = json_of(weights)
    assert alone["sidecar"] is None
    assert {name: alone["holds"][name] for name in holds} == holds
    assert alone["holds"]["metadata"] == {"format": "pt", "long": "x" * 100}
    text = text_of(weights)
    assert "none lies beside it" in text
    for expected in ("3 (2 F32, 1 BF16)", "format pt", "VectorField", HASH, "[2]"):
        assert expected in text
    assert "x" * 61 not in text
    sidecar = write_sidecar(project / "provenance.json", ["model"])
    assert json_of(weights) == alone | {"sidecar": str(sidecar)} | provenance(["model"])
    assert "none lies beside it" not in text_of(weights)
    assert "train_field" in text_of(weights)


def test_a_folder_is_told_by_the_sidecar_that_lists_most(project):
    write_sidecar(project / "results/a.provenance.json", ["a.csv"])
    write_sidecar(project / "results/b.provenance.json", ["b.csv", "c.csv"])
    assert describe(project / "results").sidecar.name == "b.provenance.json"
    write_sidecar(project / "results/d.provenance.json", ["d.csv", "e.csv"])
    with pytest.raises(ValueError, match=r"several .*: a\.provenance\.json, b\.provenance\.json, d\.provenance\.json$"):
        describe(project / "results")


def test_a_folder_without_one_belongs_to_the_folder_that_is_listed(project):
    (project / "train/model/parts").mkdir(parents=True)
    sidecar = write_sidecar(project / "train/provenance.json", ["model"])
    assert describe(project / "train/model").sidecar == sidecar
    assert describe(project / "train/model/parts").sidecar == sidecar


def test_what_is_wrong_is_one_line_with_a_remedy(project, monkeypatch, capsys):
    def error_of(path: Path) -> str:
        monkeypatch.setattr(sys, "argv", ["fsr", "info", str(path)])
        with pytest.raises(SystemExit, match="1"):
            cli.main()
        written = capsys.readouterr()
        assert written.out == ""
        [line] = written.err.splitlines()
        return line

    file, sidecar = write_file(project / "a.csv"), project / "provenance.json"
    assert error_of(project / "b.csv").startswith(f"error: {project}/b.csv does not exist; give a result's file")
    assert f"no provenance.json beside {file} or above it lists it; ask" in error_of(file)
    assert f"no provenance.json beside {project}" in error_of(project)
    sidecar.write_text("{")
    assert f"{sidecar} is not valid JSON" in error_of(file)
    write_json(sidecar, [])
    assert f"{sidecar} is no provenance: it is not a mapping; make its results again" in error_of(file)
    write_json(sidecar, provenance(["a.csv"], threads="two") | {"git": None})
    assert f"{sidecar} is no provenance: git, threads missing or wrong; make its results again" in error_of(file)
    damaged = project / "x.safetensors"
    damaged.write_bytes(b"\xff" * 20)
    assert f"{damaged} is damaged (" in error_of(damaged)
