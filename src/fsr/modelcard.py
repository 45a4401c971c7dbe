"""What goes to the hub with a field: which VAE it is for, and a card written from results."""

from collections.abc import Mapping
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, LocalTokenNotFoundError

from fsr.autoencoders import FrozenAutoencoder, load_autoencoder
from fsr.autoencoders.fingerprint import architecture_of, fingerprint_of, name_of
from fsr.config import Rivals, Vae
from fsr.downloads.partial import without_credentials
from fsr.files import read_json
from fsr.flow.field import VectorField, load_field
from fsr.info import SIDECAR, commit_text, read_sidecar
from fsr.report.names import CEILING, FSR, METRICS, PRIMARY, rows, times
from fsr.sections import validated

CARD = "README.md"
UNMEASURED = "Nothing was measured: no results of a study lie beside it."
RANKED = "psnr"  # the metric by which the card says what is better

# What tells a field's run. Of the sets, those it learned from: a study measured on others later trains nothing again.
TRAINING, LEARNED = ("seed", "scales", "vae", "latents", "train"), ("train", "validation", "exclude")
TEMPLATE = """---
{{ card_data }}
---

# {{ name }}

FSR: one step of a rectified flow in the feature space of a frozen VAE's decoder. A small vector field carries
bicubically enlarged decoder features to those of a larger image, and the rest of the decoder renders them. In a
diffusers pipeline it stands where the VAE does; images come out larger ({{ scales }}), from the same latent.

| | |
| :--- | :--- |
| scales | {{ scales }} |
| cut | {{ cut }} of the decoder |
| VAE it is for | {{ base }} ({{ base_class }}); any other is refused |
| numbers in the field | {{ parameters }} |

## Use

```python
from diffusers import DiffusionPipeline
from fsr.decoder import FSRDecoder

pipe = DiffusionPipeline.from_pretrained(...)  # one that has this VAE
pipe.vae = FSRDecoder.from_pretrained("{{ name }}").attach(pipe.vae)
```

`attach(pipe.vae, scale=...)` chooses a scale; `pipe.vae.enable_tiling(memory="4GB")` decodes in exact strips.

## Training

{{ training }}

## Measured

{{ measured }}

## Limits

{{ limits }}
"""


def identity(field: VectorField, autoencoder: FrozenAutoencoder, vae: Vae) -> dict[str, Any]:
    """The configuration of a field's decoder; `autoencoder` is what `vae` names, in float32."""
    network = {key: value for key, value in field.config.items() if not key.startswith("_")}
    trained = {key: network.pop(key) for key in ("cut", "scales", "autoencoder")}
    return trained | {
        "network": network,
        "base_vae": vae.model_dump(by_alias=True, include={"family", "path", "subfolder", "revision"}),
        "architecture": architecture_of(autoencoder.model),
        "fingerprint": fingerprint_of(autoencoder.model),
        "statistics": statistics_of(field),
    }


def read_study(results: Path, **base: str | None) -> tuple[VectorField, FrozenAutoencoder, Vae]:
    """What training left in results/<experiment>: the field, its VAE in float32, and how that is named.

    Args:
        base: path, subfolder, revision of the VAE for others, where the study had it elsewhere.

    Raises:
        FileNotFoundError: no trained field there, or its VAE is out of reach.
        ValueError: the field is not whole, or is not for the VAE that its provenance names.
    """
    sidecar = results / "train" / SIDECAR
    if not sidecar.is_file():
        raise FileNotFoundError(f"no trained field in {results}; give results/<experiment> of a study that trained")
    params = read_sidecar(sidecar)["params"]
    vae, mirror = validated(Vae, params["vae"], f"{sidecar}, vae"), params["data"]["mirror"]
    autoencoder, exact = load_autoencoder(vae, "cpu", mirror), vae.model_copy(update={"dtype": "float32"})
    field = load_field(results / "train/model", autoencoder)
    return field, autoencoder if exact == vae else load_autoencoder(exact, "cpu", mirror), vae.model_copy(update=base)


def statistics_of(field: VectorField) -> dict[str, list[float]]:
    """The feature statistics in a field's buffers."""
    return {"mean": field.feature_mean.tolist(), "std": field.feature_std.tolist()}


def model_card(config: Mapping[str, Any], name: str, parameters: int, study: Path | None) -> ModelCard:
    """The card of a decoder: every number of it is of the files in `study` (results/<experiment>), if there is one.

    Raises:
        FileNotFoundError, ValueError: a file of the study is missing or damaged, or of another run than its training.
    """
    table = None if study is None else _primary(study)
    local = config["base_vae"]["path"] in ("embedded", "public") or Path(config["base_vae"]["path"]).is_dir()
    data = ModelCardData(
        license=metadata("fsr")["License-Expression"].lower(),
        library_name="diffusers",
        pipeline_tag="image-to-image",
        tags=["fsr", "super-resolution", "rectified-flow", "vae"],
        base_model=None if local else config["base_vae"]["path"],
        model_name=name,
        eval_results=None if table is None else _results(table) or None,
    )
    return ModelCard.from_template(
        data,
        template_str=TEMPLATE,
        name=name,
        scales=times(*config["scales"]),
        cut=config["cut"],
        base=name_of(config),
        base_class=config["base_vae"]["class"],
        parameters=f"{parameters:,}",
        training="Not known: no results of a study lie beside it." if study is None else _training(study),
        measured=UNMEASURED if table is None else _measured(study),
        limits="\n".join(f"- {limit}" for limit in _limits(config, table, study)),
    )


def _primary(study: Path) -> pd.DataFrame | None:
    """The study's primary table; None where its report has not been made."""
    report = study / "report"
    if not (report / "tables/primary.csv").is_file():
        return None
    made, trained = read_sidecar(report / SIDECAR)["params"], read_sidecar(study / "train" / SIDECAR)["params"]
    other = [key for key in TRAINING if made[key] != trained[key]]
    other += [f"data.{key}" for key in LEARNED if made["data"][key] != trained["data"][key]]
    if other:
        raise ValueError(f"{report} is of another {', '.join(other)} than {study / 'train'}; run the study to its end")
    return pd.read_csv(report / "tables/primary.csv")


def _results(table: pd.DataFrame) -> list[EvalResult]:
    ours = table[(table["upscaler"] == FSR) & (table["target"] == PRIMARY) & np.isfinite(table["mean"])]
    return [
        EvalResult(
            task_type="image-to-image",
            dataset_type=cell.set,
            dataset_name=f"{cell.set}, {times(cell.scale)}, protocol {cell.protocol}, against {PRIMARY}",
            metric_type=cell.metric,
            metric_name=METRICS[cell.metric].label,
            metric_value=cell.mean,
        )
        for cell in ours.itertuples()
    ]


def _training(study: Path) -> str:
    provenance, cost = read_sidecar(study / "train" / SIDECAR), read_json(study / "train/runtime.json")
    params, listed = provenance["params"], study / "report/tables/data.csv"
    licences = pd.read_csv(listed).set_index("name")["licence"].to_dict() if listed.is_file() else {}
    sets = [
        f"- {name}: {licences.get(name, 'its licence is not among the results')}" for name in params["data"]["train"]
    ]
    made = (
        f"{cost['steps']} steps over {cost['crops']} crops, low resolution by protocol {params['latents']['protocol']}."
    )
    return "\n".join(
        [made, "", "Images, and their licences:", "", *sets, "", f"Commit: {commit_text(provenance['git'])}."]
    )


def _measured(study: Path) -> str:
    protocols = ", ".join(read_sidecar(study / "report" / SIDECAR)["params"]["benchmark"]["protocols"])
    text = (study / "report/tables/primary.md").read_text(encoding="utf-8").strip()
    return f"Evaluation protocol: {protocols} (docs/protocol.md of FSR).\n\n{text}"


def _limits(config: Mapping[str, Any], table: pd.DataFrame | None, study: Path | None) -> list[str]:
    limits = [
        "It is for one VAE and these scales. What the VAE itself cannot show, it cannot add: the VAE round trip is its "
        "ceiling.",
        "The VAE, and the images it was trained on, have licences of their own, which hold beside this one.",
        "Inpainting that pastes its output into the original (padding_mask_crop) needs both of one size.",
    ]
    if table is None:
        return [*limits, "How good it is, is not known."]
    names = rows(validated(Rivals, read_sidecar(study / "report" / SIDECAR)["params"]["rivals"], "rivals"))
    cells = table[(table["metric"] == RANKED) & (table["target"] == PRIMARY) & (table["upscaler"] != CEILING)]
    for (set_, scale, protocol), group in cells.groupby(["set", "scale", "protocol"], sort=False):
        means = group.set_index("upscaler")["mean"]
        better = [names[name].label for name in means.index if means[name] > means[FSR]]
        of = f"on {set_}, {times(scale)}, protocol {protocol}, by the mean {METRICS[RANKED].label} against {PRIMARY}"
        limits.append(f"Better than it {of}: {', '.join(better) or 'no other method of the table'}.")
    return limits


def upload(
    folder: Path,
    repo: str,
    message: str,
    private: bool | None = None,
    token: str | None = None,
    create_pr: bool = False,
    subfolder: str | None = None,
) -> str:
    """Put a folder's files into a repository of the hub, which is made where there is none; the commit's address.

    Raises:
        ValueError: no name of a repository. OSError: the hub refuses, or is out of reach.
    """
    api = HfApi(token=token)
    try:
        repo = api.create_repo(repo, private=private, exist_ok=True).repo_id
        options = {"commit_message": message, "create_pr": create_pr, "path_in_repo": subfolder}
        return str(api.upload_folder(repo_id=repo, folder_path=folder, **options))
    except HFValidationError:
        raise ValueError(f"{repo!r} is no name of a repository; give owner/name") from None
    except (HfHubHTTPError, LocalTokenNotFoundError) as error:
        answer = f"answers {error.response.status_code}" if isinstance(error, HfHubHTTPError) else "knows no token"
        raise ConnectionError(f"the hub {answer} for {repo}; set HF_TOKEN to a token that may write there") from None
    except (HTTPError, ConnectionError):
        endpoint = without_credentials(constants.ENDPOINT)
        raise ConnectionError(f"no hub within reach at {endpoint}; check the network, or publish to a folder") from None
