"""The card says what the study's files say, to the digit, and nothing where there are none; what goes to the hub."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from small_fields import moving_field
from tiny_models import tiny_model

from fsr.autoencoders import FrozenAutoencoder
from fsr.cli import hub  # noqa: F401 - its commands
from fsr.decoder import FSRDecoder
from fsr.provenance import write_provenance

TABLES = ("primary.csv", "primary.md", "data.csv")


@pytest.fixture
def study(root, tmp_path, monkeypatch) -> Path:
    """results/<experiment> of a study: a random field for a tiny VAE in a folder, and the committed study's tables."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((root / "params.yaml").read_text())
    tiny_model().save_pretrained("vae")
    params["vae"] |= {"path": "vae"}
    results = tmp_path / "results/made"
    moving_field(FrozenAutoencoder(tiny_model()), "f4", [2]).save_pretrained(results / "train/model")
    (results / "train/runtime.json").write_text(json.dumps({"steps": 8641, "crops": 34564}))
    (results / "report/tables").mkdir(parents=True)
    for name in TABLES:
        shutil.copy(root / "results/embedded/published/tables" / name, results / "report/tables" / name)
    for job in ("train", "report"):
        about = {"outputs": [results / job], "wildcards": {}, "threads": 1, "inputs": [], "repository": tmp_path}
        write_provenance(results / job / "provenance.json", rule=job, params=params, **about)
    return results


@pytest.fixture
def hub_in(tmp_path, monkeypatch) -> Path:
    """A folder that stands for the hub: repositories that are made, and files that are uploaded to them."""
    place = tmp_path / "hub"

    def create_repo(self, repo_id, **options):
        (place / repo_id).mkdir(parents=True, exist_ok=options["exist_ok"])
        (place / "options.json").write_text(json.dumps(options))
        return type("Repository", (), {"repo_id": repo_id})

    def upload_folder(self, *, repo_id, folder_path, commit_message, path_in_repo, **_):
        shutil.copytree(folder_path, place / repo_id / (path_in_repo or ""), dirs_exist_ok=True)
        return f"hub:{repo_id}: {commit_message}"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return place


def primary(study: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((study / "report/tables/primary.csv").open()))


def card_of(folder: Path) -> ModelCard:
    return ModelCard.load(folder / "README.md")


def test_a_card_holds_the_studys_table_and_its_numbers_for_machines(study, fsr, tmp_path):
    assert fsr("publish", study, "-o", tmp_path / "out")[0] == 0
    card = card_of(tmp_path / "out")
    assert (study / "report/tables/primary.md").read_text().strip() in card.text
    ours = {row["metric"]: float(row["mean"]) for row in primary(study) if row["upscaler"] == "fsr" and row["mean"]}
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == ours
    assert {result.dataset_type for result in card.data.eval_results} == {"Embedded5"}
    assert (card.data.license, card.data.library_name, card.data.base_model) == ("apache-2.0", "diffusers", None)
    for said in ("EmbeddedTrain: per image: CC0", "8641 steps over 34564 crops", "protocol: strict", "×2", "f4"):
        assert said in card.text, said
    decoder = FSRDecoder.from_pretrained(tmp_path / "out", use_safetensors=True)
    decoder.save_pretrained(tmp_path / "again")
    assert card_of(tmp_path / "again").content == card.content, "what was measured is not lost"


def test_a_card_says_which_methods_are_better(study, fsr, tmp_path):
    fsr("publish", study, "-o", tmp_path / "out")
    line = next(line for line in card_of(tmp_path / "out").text.splitlines() if "Better than it" in line)
    assert line.endswith("against x_H_rec: bicubic (pixels), decoded bicubic."), line
    rows = primary(study)
    for row in rows:
        if row["upscaler"] == "fsr" and row["metric"] == "psnr":
            row["mean"] = "50.0"
    with (study / "report/tables/primary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    fsr("publish", study, "-o", tmp_path / "changed")
    card = card_of(tmp_path / "changed")
    assert "no other method of the table" in card.text
    assert 50.0 in [result.metric_value for result in card.data.eval_results]


def test_without_a_study_a_card_says_that_nothing_was_measured(study, tmp_path):
    decoder = FSRDecoder.from_study(study)
    decoder.study = None
    decoder.save_pretrained(tmp_path / "alone")
    card = card_of(tmp_path / "alone")
    assert "Nothing was measured" in card.text and "How good it is, is not known" in card.text
    assert card.data.eval_results is None
    shutil.rmtree(study / "report")
    FSRDecoder.from_study(study).save_pretrained(tmp_path / "unreported")
    card = card_of(tmp_path / "unreported")
    assert "Nothing was measured" in card.text and "8641 steps" in card.text
    assert "licence is not among the results" in card.text


def test_a_report_of_another_run_is_not_put_into_a_card(study, fsr, tmp_path):
    sidecar = study / "report/provenance.json"
    provenance = json.loads(sidecar.read_text())
    provenance["params"]["train"]["steps"] += 1
    sidecar.write_text(json.dumps(provenance))
    code, _, error = fsr("publish", study, "-o", tmp_path / "out")
    assert code == 1 and "is of another train than" in error and error.count("\n") == 1


def test_a_study_measured_on_another_set_later_is_the_same_run(study, fsr, tmp_path):
    sidecar = study / "train/provenance.json"
    provenance = json.loads(sidecar.read_text())
    provenance["params"]["data"]["test"] = ["Set5"]
    sidecar.write_text(json.dumps(provenance))
    assert fsr("publish", study, "-o", tmp_path / "out")[0] == 0
    provenance["params"]["data"]["train"] = ["BSDS500"]
    sidecar.write_text(json.dumps(provenance))
    code, _, error = fsr("publish", study, "-o", tmp_path / "other")
    assert code == 1 and "is of another data.train than" in error


def test_publishing_to_the_hub_uploads_what_a_folder_would_hold(study, fsr, hub_in, tmp_path):
    code, _, error = fsr("publish", study, "--repo", "owner/fsr")
    assert code == 1 and "--base-vae" in error, "others do not have this machine's folder"
    assert not hub_in.exists()
    base = ("--base-vae", "owner/vae", "--base-subfolder", "vae")
    code, out, _ = fsr("publish", study, "--repo", "owner/fsr", "--private", *base)
    assert (code, out) == (0, "hub:owner/fsr: Upload FSRDecoder\n")
    assert json.loads((hub_in / "options.json").read_text())["private"] is True
    assert fsr("publish", study, "-o", tmp_path / "out", *base)[0] == 0
    for file in (tmp_path / "out").iterdir():
        if file.name != "README.md":
            assert (hub_in / "owner/fsr" / file.name).read_bytes() == file.read_bytes()
    card = card_of(hub_in / "owner/fsr")
    assert card.data.base_model == "owner/vae" and 'from_pretrained("owner/fsr")' in card.text
    assert "owner/vae, subfolder vae" in card.text
    assert FSRDecoder.from_pretrained(hub_in / "owner/fsr", use_safetensors=True).attach(tiny_model()).scale == 2


def test_saving_may_push_as_models_of_diffusers_do(study, hub_in, tmp_path):
    decoder = FSRDecoder.from_study(study, path="owner/vae")
    decoder.save_pretrained(tmp_path / "out", push_to_hub=True, repo_id="owner/fsr", commit_message="m", private=False)
    assert json.loads((hub_in / "options.json").read_text())["private"] is False
    assert decoder.push_to_hub("owner/fsr", commit_message="n", subfolder="x2").endswith("n")
    saved = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    for folder in ("owner/fsr", "owner/fsr/x2"):
        assert {file.name: file.read_bytes() for file in (hub_in / folder).iterdir() if file.is_file()} == saved


def test_a_hub_that_refuses_says_so_in_one_line(study, fsr, monkeypatch):
    class Response:
        status_code, headers, request = 403, {}, None

    base = ("--base-vae", "owner/vae")
    code, _, error = fsr("publish", study, "--repo", "a/b/c", *base)
    assert code == 1 and "give owner/name" in error and error.count("\n") == 1
    for raised, said in (
        (HfHubHTTPError("many\nlines", response=Response()), "answers 403 for owner/fsr; set HF_TOKEN"),
        (HTTPError("many\nlines"), "no hub within reach"),
        (OfflineModeIsEnabled("many\nlines"), "no hub within reach"),
        (LocalTokenNotFoundError("many\nlines"), "HF_TOKEN"),
    ):

        def refuse(self, repo_id, raised=raised, **_):
            raise raised

        monkeypatch.setattr(HfApi, "create_repo", refuse)
        code, _, error = fsr("publish", study, "--repo", "owner/fsr", *base)
        assert code == 1 and said in error and error.count("\n") == 1


def test_publish_needs_one_place_and_a_study(study, fsr, tmp_path):
    for place in ((), ("-o", tmp_path / "out", "--repo", "owner/fsr")):
        code, _, error = fsr("publish", study, *place)
        assert code == 1 and "one place" in error
    code, _, error = fsr("publish", tmp_path / "nothing", "-o", tmp_path / "out")
    assert code == 1 and "no trained field" in error
    assert not (tmp_path / "out").exists()


def test_a_field_trained_for_other_weights_is_not_published(study, fsr, tmp_path):
    torch.manual_seed(1)
    vae = tiny_model()
    vae.decoder.conv_in.bias.data += 1
    vae.save_pretrained("vae")
    code, _, error = fsr("publish", study, "-o", tmp_path / "out")
    assert code == 1 and "another autoencoder" in error
