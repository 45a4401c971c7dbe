import re
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from fsr.autoencoders.recipe import AutoencoderTraining
from fsr.cli import app, merge
from fsr.config import Params, schema_text
from fsr.sections import read_yaml, validated


def test_the_default_and_every_experiment_are_valid(root):
    read_yaml(Params, root / "params.yaml")
    read_yaml(Params, root / "tests/tiny/params.yaml")
    read_yaml(AutoencoderTraining, root / "experiments/embedded_autoencoder.yaml")
    for experiment in set((root / "experiments").glob("*.yaml")) - {root / "experiments/embedded_autoencoder.yaml"}:
        values = yaml.safe_load((root / "params.yaml").read_text())
        merge(values, yaml.safe_load(experiment.read_text()))
        assert validated(Params, values, experiment.name).experiment == experiment.stem


def test_an_experiment_is_valid_as_its_head_says_to_run_it(root):
    runs = 0
    for experiment in (root / "experiments").glob("*.yaml"):
        for files in re.findall(r"--configfile(( experiments/\w+\.yaml)+)", experiment.read_text()):
            values = yaml.safe_load((root / "params.yaml").read_text())
            for file in files[0].split():
                merge(values, yaml.safe_load((root / file).read_text()))
            assert validated(Params, values, files[0]).experiment == experiment.stem
            runs += 1
    assert runs >= 9


@pytest.mark.parametrize("name", ["taef2", "flux"])
def test_a_preset_is_valid_over_the_default_and_is_put_there_with_comments_kept(root, tmp_path, name):
    changed, experiment = tmp_path / "params.yaml", root / f"experiments/{name}.yaml"
    shutil.copy(root / "params.yaml", changed)
    result = CliRunner().invoke(app, ["preset", str(experiment), "--params", str(changed)])
    assert result.exit_code == 0, result.output
    expected = yaml.safe_load((root / "params.yaml").read_text())
    merge(expected, yaml.safe_load(experiment.read_text()))
    assert yaml.safe_load(changed.read_text()) == expected
    assert read_yaml(Params, changed).experiment == name
    comments = [file.read_text().count("#") for file in (changed, root / "params.yaml")]
    assert comments[0] == comments[1]


def test_the_flux_preset_is_the_prototypes_experiment(root):
    values = yaml.safe_load((root / "params.yaml").read_text())
    merge(values, yaml.safe_load((root / "experiments/flux.yaml").read_text()))
    params = validated(Params, values, "flux")
    assert (params.vae.family, params.vae.subfolder) == ("AutoencoderKL", "vae")
    assert (params.latents.crop_size, params.runtime.dtype, params.data.train) == (512, "bfloat16", ["DIV2K_train"])
    train = params.train
    assert (train.batch, train.accumulation, train.lr, train.weight_decay, train.hours) == (1, 8, 2e-4, 1e-4, 10)
    assert train.field.model_dump() == {"hidden": 128, "blocks": 8, "block": "depthwise", "patch": 1, "gate": "scalar"}
    weights = {"flow": 1, "endpoint": 0.5, "fft": 0.1, "one_step": 1, "rgb": 0.5, "low_frequency": 0.2,
               "high_frequency": 0.2, "drift": 0.005, "gate_sparsity": 0.001, "gate_variation": 0.001}  # fmt: skip
    assert train.losses.model_dump() == weights


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("train", "stepz"), 3, r"train\.stepz is not a known key; check its spelling"),
        (("train", "steps"), -5, r"train\.steps is -5: input should be greater than 0"),
        (("train", "cut"), "f9", r"train\.cut is 'f9': input should be 'best'"),
        (("probe", "cuts"), ["f3", "f7"], r"probe\.cuts\.1 is 'f7': input should be 'f1', 'f2', 'f3', 'f4' or 'f5'"),
        (("probe", "cuts"), ["f3", "f3"], r"probe\.cuts: f3 is named twice; list each once"),
        (("benchmark", "protocols"), ["strict", "strict"], r"benchmark\.protocols: strict is named twice"),
        (
            ("benchmark", "protocols"),
            ["lenient"],
            r"benchmark\.protocols\.0 is 'lenient': input should be 'strict' or 'prot",
        ),
        (("data", "validation"), ["EmbeddedTrain"], "EmbeddedTrain cannot be both a training and a validation set"),
        (("data", "optional"), ["EmbeddedTrain"], "optional names EmbeddedTrain, which must be one of EmbeddedTiny"),
        (
            ("data", "exclude"),
            {"EmbeddedTiny": ["rocket"]},
            "exclude names EmbeddedTiny, which must be one of Emb",
        ),
        (("vae", "path"), "public", "path 'public' is of class TAEF2, not AutoencoderKL; correct one"),
        (("vae", "tile"), 100, r"vae\.tile is 100: input should be"),
        (("generate", "size"), 1000, r"generate\.size is 1000: input should be a multiple of 16"),
        (("latents", "crop_size"), 50, r"latents\.crop_size must be a multiple of 16"),
        (("data", "test"), ["EmbeddedTrain"], r"EmbeddedTrain cannot be both a training \(or validation\) and a test"),
        (("experiment",), "../elsewhere", "experiment is '../elsewhere'"),
        (("train", "cut"), "f2", r"train\.cut f2 is not among probe\.cuts; add it there"),
        (("report", "gallery"), ["fsr", "feature_bicubic", "lua"], r"report\.gallery names lua"),
        (("scales",), [2, 2], "scales: 2 is named twice; list each once"),
        (("scales",), [2, 3], r"scales\.1 is 3: input should be 2 or 4"),
        (("scales",), [], "scales is .*at least 1 item"),
        (("scales",), [2, 4], r"latents\.crop_size must be a multiple of 32 \(8 x the largest scale\), not 48"),
        (("train", "feature_tile"), 64, r"train\.feature_tile must be at most latents\.crop_size 48, not 64; null for"),
        (("train", "feature_tile"), 40, r"train\.feature_tile is 40: input should be"),
        (("train", "processes"), 3, r"train\.batch must be a multiple of train\.processes 3, not 2"),
        (("train", "consistency", "weight"), -1, r"train\.consistency\.weight is -1: input should be greater than or"),
        (("train", "max_skipped"), 0, r"train\.max_skipped is 0: input should be greater than 0"),
        (("train", "field", "patch"), 3, r"train\.field\.patch is 3: input should be 1, 2 or 4"),
        (("tracking", "mode"), "on", r"tracking\.mode is 'on': input should be 'disabled', 'offline' or 'online'"),
        (
            ("ablation", "losses"),
            {"a": {"gan": 1}},
            r"ablation\.losses: gan is no term of the objective; use flow, end",
        ),
        (("ablation", "losses"), {}, r"ablation\.losses is .*at least 1 item"),
        (("ablation", "seeds"), [0], r"ablation\.seeds is \[0\]: list should have at least 2 items"),
        (("ablation", "seeds"), [1, 1], r"ablation\.seeds: 1 is named twice; list each once"),
        (("ablation", "patches"), [1, 3], r"ablation\.patches\.1 is 3: input should be 1, 2 or 4"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(values, place, value, message):
    section = values
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value
    with pytest.raises(ValueError, match=message) as caught:
        validated(Params, values, "params.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("params.yaml: ")


def test_scales_are_kept_in_order(values):
    """One field, one run: however they are listed."""
    values["latents"]["crop_size"] = 64
    for listed in ([2, 4], [4, 2]):
        assert validated(Params, values | {"scales": listed}, "params.yaml").scales == [2, 4]


def test_no_key_may_be_left_out(values):
    """Snakemake would see a default that DVC does not."""
    free = [("ablation", "losses"), ("rivals", "methods")]  # names there are the user's own

    def sections(value, place=()):
        for key, inner in value.items():
            yield value, key, place
            if isinstance(inner, dict) and (*place, key) not in free:
                yield from sections(inner, (*place, key))

    for section, key, _ in list(sections(values)):
        taken = section.pop(key)
        with pytest.raises(ValueError, match=f"{key} is missing; copy it from params.yaml"):
            validated(Params, values, "params.yaml")
        section[key] = taken


@pytest.mark.parametrize(
    ("method", "kind", "row"),
    [("bicubic", "pixel", "bicubic"), ("hr", "pixel", "hr"), ("lua_steps", "pixel", "lua_steps")],
)
def test_no_two_rows_have_one_name(values, method, kind, row):
    values["rivals"]["methods"][method] = {"kind": kind, "weights": "model.pth", "source": "image", "tile": None}
    with pytest.raises(ValueError, match=f"{method} has a row {row}, the name of another; rename it"):
        validated(Params, values, "test")


def test_a_method_called_as_the_field_would_be_taken_for_it(values):
    values["rivals"]["methods"]["fsr"] = values["rivals"]["methods"]["lua"]
    with pytest.raises(ValueError, match="'fsr' is the field's own name"):
        validated(Params, values, "test")


def test_a_budget_of_time_needs_steps_of_one_cost(values):
    values["benchmark"]["upscalers"] += ["lua_time"]
    values["train"]["consistency"]["weight"] = 0.1
    with pytest.raises(ValueError, match="same time cannot be had with train.consistency"):
        validated(Params, values, "test")


def test_a_file_that_is_not_yaml_is_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text("train: [\n")
    with pytest.raises(ValueError, match="is not valid YAML") as caught:
        read_yaml(Params, tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


def test_the_committed_schema_has_not_drifted(root):
    committed = (root / "workflow/schemas/params.schema.json").read_text()
    assert committed == schema_text(), "run: fsr schema workflow/schemas/params.schema.json"


def test_every_default_key_carries_a_comment_or_stands_in_a_commented_section(root):
    lines = (root / "params.yaml").read_text().splitlines()
    assert sum("#" in line for line in lines) > len(lines) / 3
    assert set(yaml.safe_load("\n".join(lines))) == set(Params.model_fields)
