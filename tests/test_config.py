import pytest
import yaml

from fsr.config import AutoencoderTraining, Params, read_yaml, schema_text, validated


def test_the_default_and_every_experiment_are_valid(root):
    read_yaml(Params, root / "params.yaml")
    read_yaml(Params, root / "tests/tiny/params.yaml")
    read_yaml(AutoencoderTraining, root / "experiments/embedded_autoencoder.yaml")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("train", "stepz"), 3, r"train\.stepz is not a known key; check its spelling"),
        (("train", "steps"), -5, r"train\.steps is -5: input should be greater than 0"),
        (("train", "cut"), "f9", r"train\.cut is 'f9': input should be 'best'"),
        (("probe", "cuts"), ["f3", "f7"], r"probe\.cuts\.1 is 'f7': input should be 'f1', 'f2', 'f3', 'f4' or 'f5'"),
        (("probe", "cuts"), ["f3", "f3"], "names a cut twice"),
        (("latents", "crop_size"), 50, r"latents\.crop_size must be a multiple of 16"),
        (("data", "test"), ["EmbeddedTrain"], "cannot be both a training and a test set"),
        (("experiment",), "../elsewhere", "experiment is '../elsewhere'"),
        (("train", "cut"), "f2", r"train\.cut f2 is not among probe\.cuts; add it there"),
        (("report", "gallery"), ["fsr", "feature_bicubic", "lua"], r"report\.gallery names lua"),
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


def test_no_key_may_be_left_out(values):
    """Snakemake would see a default that DVC does not."""

    def sections(value, place=()):
        for key, inner in value.items():
            yield value, key, place
            if isinstance(inner, dict) and inner:
                yield from sections(inner, (*place, key))

    for section, key, _ in list(sections(values)):
        taken = section.pop(key)
        with pytest.raises(ValueError, match=f"{key} is missing; copy it from params.yaml"):
            validated(Params, values, "params.yaml")
        section[key] = taken


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
