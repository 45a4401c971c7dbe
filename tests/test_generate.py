"""End to end with a tiny random FluxPipeline that the real loading code reads from disk."""

import json

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_flux import save_tiny_flux

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Generate
from fsr.files import read_json, sha256_of_file
from fsr.generate import generate_set, load_pipeline
from fsr.images import read_image, to_bytes
from fsr.prompts import Prompt
from fsr.randomness import generator

SEED = 7
PROMPTS = [Prompt("a", "a red cat"), Prompt("b", "a dog, in the snow"), Prompt("c", "a red cat")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The saved pipeline."""
    path = tmp_path_factory.mktemp("flux")
    save_tiny_flux(path)
    return path


@pytest.fixture
def params(folder) -> Generate:
    return Generate(
        model=str(folder), revision=None, prompts=None, size=32, steps=2, guidance=3.5, dtype="float32", offload="none"
    )


@pytest.fixture
def pipeline(params):
    return load_pipeline(params, "cpu")


@pytest.fixture
def generate(params, pipeline):
    """generate_set with the tiny pipeline; keywords change its parameters."""

    def run(folder, prompts=PROMPTS, seed=SEED, load=lambda params, device: pipeline, **changes):
        generate_set(params.model_copy(update=changes), prompts, folder, seed=seed, device="cpu", load=load)

    return run


def forbidden(params, device):
    raise AssertionError("the pipeline is loaded though no image is missing")


def pictures(folder):
    return {file.stem: np.asarray(Image.open(file)).astype(int) for file in sorted(folder.glob("*.png"))}


def stamps(folder):
    """Which bytes were written when: a file that is made again has another inode."""
    return {file.stem: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.glob("*.png")}


def metadata(file):
    with safe_open(file, framework="pt") as opened:
        return json.loads(opened.metadata()["generation"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_picture_is_the_pipelines_own_and_the_latent_decodes_to_it(tmp_path, params, dtype):
    """The real loading code, then diffusers alone as the reference, from the same noise."""
    params = params.model_copy(update={"dtype": dtype})
    generate_set(params, PROMPTS[1:2], tmp_path, seed=SEED, device="cpu")
    saved = pictures(tmp_path)["b"]
    reference = FluxPipeline.from_pretrained(params.model, torch_dtype=getattr(torch, dtype))
    chosen = {"height": 32, "width": 32, "num_inference_steps": 2, "guidance_scale": 3.5}
    expected = reference("a dog, in the snow", **chosen, generator=generator(SEED, "generate/b"))
    assert saved.std() > 10, "a picture without contents would pass any comparison"
    np.testing.assert_array_equal(saved, np.asarray(expected.images[0]))

    latent = load_file(tmp_path / "latents/b.safetensors")["latent"]
    assert latent.shape == (1, 16, 4, 4)
    assert latent.dtype == getattr(torch, dtype)
    scale, shift = reference.vae.config.scaling_factor, reference.vae.config.shift_factor
    with torch.inference_mode():
        decoded = reference.vae.decode(latent / scale + shift).sample
    np.testing.assert_array_equal(saved, np.asarray(reference.image_processor.postprocess(decoded)[0]))


def test_the_latent_is_scaled_as_the_projects_autoencoders_take_it(tmp_path, generate, pipeline):
    generate(tmp_path, PROMPTS[:1])
    latent = load_file(tmp_path / "latents/a.safetensors")["latent"]
    with torch.inference_mode():
        decoded = to_bytes(FrozenAutoencoder(pipeline.vae).decode(latent))
    difference = decoded.int() - to_bytes(read_image(tmp_path / "a.png")).int()
    assert difference.abs().max() <= 1  # rounding: the last bit of a float may differ between the two ways to decode


def test_the_same_seed_gives_the_same_bytes_in_any_order_and_the_name_chooses_the_noise(tmp_path, generate):
    generate(tmp_path / "one")
    generate(tmp_path / "two", PROMPTS[::-1])
    files = sorted(file.relative_to(tmp_path / "one") for file in (tmp_path / "one").rglob("*") if file.is_file())
    assert len(files) == 3 * len(PROMPTS) + 1
    for file in files:
        if file.name != "generation.json":  # the images' order is in there
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    images = pictures(tmp_path / "one")
    assert abs(images["a"] - images["c"]).mean() > 5, "one prompt, two names"
    generate(tmp_path / "three", PROMPTS[:1], seed=SEED + 1)
    assert abs(images["a"] - pictures(tmp_path / "three")["a"]).mean() > 5


def test_what_is_recorded(tmp_path, generate, params):
    generate(tmp_path)
    whole = read_json(tmp_path / "generation.json")
    chosen = {"model": params.model, "revision": None, "size": 32, "steps": 2, "guidance": 3.5, "dtype": "float32"}
    assert {key: whole[key] for key in chosen} == chosen
    assert whole["seed"] == SEED
    assert whole["libraries"].keys() == {"torch", "diffusers", "transformers"}
    assert [(item["name"], item["prompt"]) for item in whole["images"]] == [(p.name, p.text) for p in PROMPTS]
    for item in whole["images"]:
        latent, png = tmp_path / f"latents/{item['name']}.safetensors", tmp_path / f"{item['name']}.png"
        seed = generator(SEED, f"generate/{item['name']}").initial_seed()
        assert item["seed"] == seed
        assert (item["png_sha256"], item["latent_sha256"]) == (sha256_of_file(png), sha256_of_file(latent))
        made = metadata(latent)
        expected = {"prompt": item["prompt"], "seed": seed, **chosen}
        assert {key: made[key] for key in expected} == expected
        assert {name: [made[name]] for name in whole["libraries"]} == whole["libraries"]
        assert (tmp_path / f"prompts/{item['name']}.txt").read_text() == item["prompt"] + "\n"


def test_an_interruption_costs_one_image_and_a_whole_set_loads_no_pipeline(tmp_path, generate, pipeline):
    generate(tmp_path / "straight")
    step, calls = pipeline.scheduler.step, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:  # the last step of the second image
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    pipeline.scheduler.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "resumed")
    first = stamps(tmp_path / "resumed")
    assert first.keys() == {"a"}
    assert not (tmp_path / "resumed/generation.json").exists()

    pipeline.scheduler.step = step
    generate(tmp_path / "resumed")
    assert stamps(tmp_path / "resumed")["a"] == first["a"]
    before = stamps(tmp_path / "resumed")
    generate(tmp_path / "resumed", load=forbidden)
    assert stamps(tmp_path / "resumed") == before
    for name in ("generation.json", "a.png", "b.png", "c.png", "latents/b.safetensors"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    assert not list((tmp_path / "resumed").rglob(".*")), "no temporary file is left"


@pytest.mark.parametrize("harm", ["no picture", "no latent", "damaged latent", "foreign latent"])
def test_only_what_is_not_whole_is_made_again(tmp_path, generate, harm):
    generate(tmp_path)
    before, bytes_before = stamps(tmp_path), (tmp_path / "b.png").read_bytes()
    latent = tmp_path / "latents/b.safetensors"
    match harm:
        case "no picture":
            (tmp_path / "b.png").unlink()
        case "no latent":
            latent.unlink()
        case "damaged latent":
            latent.write_bytes(latent.read_bytes()[:20])
        case "foreign latent":
            save_file({"latent": torch.zeros(1)}, latent)
    generate(tmp_path)
    after = stamps(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"b"}
    assert (tmp_path / "b.png").read_bytes() == bytes_before


@pytest.mark.parametrize("change", [{"steps": 3}, {"guidance": 8.0}, {"size": 48}, {"seed": 8}, {"revision": "main"}])
def test_a_changed_parameter_makes_all_again(tmp_path, generate, change):
    generate(tmp_path, PROMPTS[:2])
    before, old = pictures(tmp_path), stamps(tmp_path)
    generate(tmp_path, PROMPTS[:2], **change)
    generate(tmp_path, PROMPTS[:2], **change, load=forbidden)
    after, new = pictures(tmp_path), stamps(tmp_path)
    assert all(old[name] != new[name] for name in old)
    if "revision" not in change:
        assert all(not np.array_equal(after[name], before[name]) for name in before)


def test_a_changed_prompt_makes_its_image_again(tmp_path, generate):
    generate(tmp_path)
    before, old = pictures(tmp_path), stamps(tmp_path)
    generate(tmp_path, [Prompt("a", "the sea at night"), *PROMPTS[1:]])
    assert {name for name, stamp in stamps(tmp_path).items() if old[name] != stamp} == {"a"}
    assert not np.array_equal(pictures(tmp_path)["a"], before["a"])
    assert (tmp_path / "prompts/a.txt").read_text() == "the sea at night\n"


def test_an_old_picture_never_stands_beside_a_new_latent(tmp_path, generate, monkeypatch):
    generate(tmp_path)

    def killed(path, text):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("fsr.generate.write_text", killed)  # between the latent and the picture
        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path, steps=3)
    assert metadata(tmp_path / "latents/a.safetensors")["steps"] == 3
    assert not (tmp_path / "generation.json").exists(), "it would describe what is no longer there"
    generate(tmp_path, steps=3)
    generate(tmp_path / "straight", steps=3)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "straight/a.png").read_bytes()


def test_parts_that_are_offloaded_make_the_same_picture(tmp_path, generate, pipeline):
    """To rounding: moved weights lie elsewhere in memory, and kernels sum in another order there."""
    generate(tmp_path / "whole", PROMPTS[:2])
    pipeline.enable_model_cpu_offload(device="cpu")
    generate(tmp_path / "offloaded", PROMPTS[:2])
    assert pipeline.vae._hf_hook is not None
    for name in ("a", "b"):
        whole, offloaded = (
            load_file(tmp_path / kind / f"latents/{name}.safetensors") for kind in ("whole", "offloaded")
        )
        torch.testing.assert_close(whole["latent"], offloaded["latent"])
        assert abs(pictures(tmp_path / "whole")[name] - pictures(tmp_path / "offloaded")[name]).max() <= 1


OFFLOADS = {"none": "to", "model": "enable_model_cpu_offload", "sequential": "enable_sequential_cpu_offload"}


@pytest.mark.parametrize("offload", OFFLOADS)
def test_offload_is_what_diffusers_calls_it(params, monkeypatch, offload):
    calls = []
    for name in OFFLOADS.values():
        monkeypatch.setattr(FluxPipeline, name, lambda self, device, name=name: calls.append((name, device)))
    load_pipeline(params.model_copy(update={"offload": offload}), "meta")
    assert calls == [(OFFLOADS[offload], "meta")]


def test_there_is_nothing_to_offload_from_on_a_cpu(params):
    with pytest.raises(ValueError, match=r"generate.offload 'model' is of no use on runtime.device 'cpu'; set it"):
        load_pipeline(params.model_copy(update={"offload": "model"}), "cpu")


@pytest.mark.parametrize("kind", ["no folder", "empty folder", "hub id"])
def test_a_missing_model_says_what_to_do_in_one_line(tmp_path, params, kind, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    model = {"no folder": str(tmp_path / "nowhere"), "empty folder": str(tmp_path / "empty"), "hub id": "no/such"}[kind]
    with pytest.raises(FileNotFoundError) as caught:
        generate_set(params.model_copy(update={"model": model}), PROMPTS, tmp_path / "set", seed=SEED, device="cpu")
    message = str(caught.value)
    assert "\n" not in message
    for words in (f"generate.model {model!r}", "licence", "HF_TOKEN", "a local folder", "data.optional"):
        assert words in message


@pytest.mark.parametrize(
    ("error", "device", "offload", "remedy"),
    [
        (torch.OutOfMemoryError(), "cuda", "none", "set generate.offload to model"),
        (torch.OutOfMemoryError(), "cuda:1", "model", "set generate.offload to sequential"),
        (torch.OutOfMemoryError(), "cuda", "sequential", "lower generate.size"),
        (MemoryError(), "cpu", "none", "lower generate.size"),
    ],
)
def test_too_little_memory_says_what_to_do(tmp_path, params, error, device, offload, remedy):
    def load(params, device):
        raise error

    with pytest.raises(OSError, match=rf"^out of memory on {device} while generating; {remedy}"):
        generate_set(
            params.model_copy(update={"offload": offload}), PROMPTS, tmp_path, seed=SEED, device=device, load=load
        )


def test_a_size_the_pipeline_cannot_make_is_an_error(tmp_path, generate):
    with pytest.raises(ValueError, match=r"generate.size 40 must be a multiple of 16 for .*; set it to 32"):
        generate(tmp_path, size=40)
    assert not pictures(tmp_path)


def test_a_latent_that_is_not_finite_is_an_error(tmp_path, generate, pipeline):
    with torch.no_grad():
        pipeline.transformer.proj_out.bias.fill_(torch.nan)
    with (
        pytest.raises(FloatingPointError, match=r"image a is not finite; set generate.dtype"),
        np.errstate(all="ignore"),
    ):
        generate(tmp_path)
    assert not pictures(tmp_path)
