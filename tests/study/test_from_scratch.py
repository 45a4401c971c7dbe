"""Whole studies from nothing, by Snakemake alone."""

import csv
import json

import pytest
from commands import change, new_study, planned, snakemake, started, tables, wait_for


def test_one_field_for_two_scales_tried_at_two_cuts_beside_other_fields(tmp_path):
    folder = new_study(tmp_path)
    change(folder, lambda values: (values.update(scales=[2, 4]), values["latents"].update(crop_size=64)))
    change(folder, lambda values: values["probe"].update(margin=10.0))
    other = {"kind": "fsr", "cut": "f3", "field": {"hidden": 16}, "losses": {"rgb": 1.0}, "group": "one size"}
    change(folder, lambda values: values["rivals"].update(seeds=[7]))
    change(folder, lambda values: values["rivals"]["methods"].update(fsr_wide=other, fsr_last=other | {"cut": "f5"}))
    fields = ["fsr", "fsr_seed7", "fsr_wide_steps", "fsr_last_steps", "feature_bicubic_f3"]
    rows = ["bicubic", "decoded_bicubic", "feature_bicubic", *fields, "lua_steps", "vae_roundtrip"]
    change(folder, lambda values: values["benchmark"].update(upscalers=rows))
    snakemake(folder, "all")
    results = folder / "results/tiny"
    field = json.loads((results / "train/model/config.json").read_text())
    assert field["scales"] == [2, 4]
    decision = json.loads((results / "train/cut.json").read_text())
    assert decision["decided_by"] == "trial"
    tried = {trial["cut"]: trial["validation_rgb_l1"] for trial in decision["trials"]}
    assert set(tried) == {"f3", "f5"}
    assert decision["cut"] == field["cut"] == min(tried, key=tried.get)
    rows = list(csv.DictReader((results / "report/tables/benchmark.csv").open()))
    assert {row["scale"] for row in rows} == {"2", "4"}
    psnr = {row["scale"]: float(row["psnr"]) for row in rows if row["upscaler"] == "bicubic" and row["target"] == "hr"}
    assert psnr["4"] < psnr["2"]
    assert len([row for row in rows if row["upscaler"] == "lua_steps" and row["target"] == "hr"]) == 2
    psnr = {row["upscaler"]: row["psnr"] for row in rows if row["scale"] == "2" and row["target"] == "x_H_rec"}
    assert len({psnr[name] for name in fields}) == len(fields), "each is another field"
    wide = json.loads((results / "rivals/fsr_wide_steps/model/config.json").read_text())
    assert (wide["cut"], wide["hidden"]) == ("f3", 16)
    repeats = list(csv.DictReader((results / "report/tables/repeats.csv").open()))
    spread = {row["scale"]: float(row["spread"]) for row in repeats if row["target"] == "x_H_rec"}
    assert spread["2"] == pytest.approx(abs(float(psnr["fsr"]) - float(psnr["fsr_seed7"])), abs=1e-5)
    cuts = list(csv.DictReader((results / "report/machine/cuts.csv").open()))
    assert {(row["cut"], row["upscaler"]) for row in cuts} == {("f3", "fsr_wide_steps"), ("f5", "fsr_last_steps")}


def test_a_killed_job_loses_no_finished_file(root, tmp_path):
    """SIGKILL while encoding: the next call goes on, and ends with a whole cache."""
    folder = new_study(tmp_path / "study")
    change(folder, lambda values: values["latents"].update(file_crops=1, crops=60, batch=1))
    snakemake(folder, "data")
    shards = folder / "data/latents/public/tiny"
    command = ("snakemake", "--snakefile", str(root / "Snakefile"), "--cores", "1", "latents")
    with started(folder, *command, log=tmp_path / "killed.log"):
        wait_for(lambda: len(list(shards.glob("train-*.safetensors"))) >= 3, seconds=120)
    finished = {file: file.stat().st_mtime_ns for file in shards.glob("train-*.safetensors")}
    assert 3 <= len(finished) < 60
    assert not (shards / "manifest.json").exists()
    snakemake(folder, "--unlock")
    snakemake(folder, "latents")
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert len(list(shards.glob("train-*.safetensors"))) == 60


def test_the_same_params_give_the_same_bytes_in_however_many_shards(made, tmp_path):
    folder = new_study(tmp_path)
    change(folder, lambda values: (values["latents"].update(shards=2), values["benchmark"].update(shards=2)))
    snakemake(folder, "all")
    assert planned(folder) == set(), "a second call has nothing to do"
    assert tables(folder) == tables(made)
    assert len(tables(made)) > 15
    for rule in ("encode_shard", "benchmark_rows"):
        assert len(list((folder / f"results/tiny/logs/{rule}").rglob("*-of-2.benchmark.tsv"))) == 2
