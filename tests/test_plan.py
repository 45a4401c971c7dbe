import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from tiny_models import tiny_model, tiny_of
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from typer.testing import CliRunner

from fsr.autoencoders import FrozenAutoencoder, load_autoencoder
from fsr.autoencoders.families import FAMILIES
from fsr.autoencoders.taef2 import Taef2
from fsr.cli import app, merged_params
from fsr.config import Params, Vae
from fsr.flow.field import VectorField, build_field
from fsr.plan import CutPlan, Remedy, StepPlan, changed, find_remedies, model_from_config, parse_setting, plan_step
from fsr.plan.table import advice
from fsr.plan.tracing import Tracer, follow_cuda
from fsr.probe import count_flops
from fsr.sections import read_yaml

ROOT = Path(__file__).parents[1]
EXPERIMENT = merged_params([ROOT / "params.yaml", ROOT / "experiments/flux.yaml"])
TOLERANCE = 0.1  # half of what is promised; measured peaks are within 3 %
FLUX = {
    "_class_name": "AutoencoderKL",
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 16,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
NARROW_FLUX = FLUX | {"block_out_channels": [16, 32, 64, 64], "norm_num_groups": 8}
NARROW_TAEF2 = {"_class_name": "Taef2", "latent_channels": 32, "width": 32}
DEPTHWISE = {"train.field": {"hidden": 32, "blocks": 4, "block": "depthwise", "patch": 1, "gate": "scalar"}}
RESIDUAL = {"train.field": {"hidden": 64, "blocks": 4, "block": "residual", "patch": 2, "gate": "scalar"}}
RECOMPUTED = {"train.checkpoint_tail": True, "train.checkpoint_field": True}
ONE_STEP = {"train.losses.flow": 0, "train.losses.endpoint": 0, "train.losses.fft": 0}
CASES = {  # cut, autoencoder, crop, what is measured, settings
    "f4 whole": ("f4", NARROW_FLUX, 96, "step", DEPTHWISE),
    "f3 whole": ("f3", NARROW_FLUX, 128, "step", DEPTHWISE),
    "f2 whole": ("f2", NARROW_FLUX, 160, "step", RESIDUAL),
    "f4 recomputed": ("f4", NARROW_FLUX, 128, "step", RESIDUAL | RECOMPUTED),
    "f3 recomputed": ("f3", NARROW_FLUX, 160, "step", DEPTHWISE | RECOMPUTED),
    "f2 recomputed": ("f2", NARROW_FLUX, 192, "step", RESIDUAL | RECOMPUTED),
    "f4 window": ("f4", NARROW_FLUX, 192, "step", RESIDUAL | RECOMPUTED | {"train.feature_tile": 128}),
    "f4 validation": ("f4", NARROW_FLUX, 192, "validation", RESIDUAL),
    "TAEF2 f3": ("f3", NARROW_TAEF2, 160, "step", RESIDUAL),
    "one step": ("f4", NARROW_TAEF2, 128, "step", RESIDUAL | ONE_STEP),
}


def structure(config: dict) -> nn.Module:
    """A model on the meta device."""
    family = next(item.model for item in FAMILIES.values() if item.model.__name__ == config["_class_name"])
    with torch.device("meta"):
        return family.from_config(config)


@pytest.fixture(scope="module")
def measuring() -> Iterator[subprocess.Popen]:
    """A process that measures cases; glibc gives freed memory back at once, so that resident means in use."""
    if not sys.platform.startswith("linux"):
        pytest.skip("peaks are read from /proc, which only Linux has")
    honest = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command, pipe = [sys.executable, ROOT / "tests/measure_step.py"], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ | honest) as process:
        yield process
        process.stdin.close()


@pytest.mark.parametrize("name", CASES)
def test_the_predicted_peak_is_the_measured_one(name, measuring):
    cut, config, crop, what, settings = CASES[name]
    base = {"runtime.device": "cpu", "runtime.dtype": "float32", "latents.crop_size": crop}
    params = changed(EXPERIMENT, base | {"train.checkpoint_tail": False} | settings)
    case = {"params": params.model_dump(by_alias=True), "cut": cut, "config": config, "what": what}
    print(json.dumps(case), file=measuring.stdin, flush=True)
    plan = plan_step(params, cut, structure(config))
    predicted = plan.total if what == "step" else plan.fixed + plan.validation
    assert plan.activations > plan.validation or what == "validation"
    assert predicted == pytest.approx(int(measuring.stdout.readline()), rel=TOLERANCE)


def test_flux_is_planned_within_a_minute_and_shows_why_f4_is_short_of_memory():
    started = time.process_time()
    plan = plan_step(EXPERIMENT, "f4", structure(FLUX))
    assert time.process_time() - started < 60, "seconds of one core"
    assert plan.frozen == 4 * 83_819_683, "the published model's weights"
    assert 20 * 2**30 < plan.total < 24 * 2**30
    recomputed = plan_step(changed(EXPERIMENT, RECOMPUTED), "f4", structure(FLUX))
    assert recomputed.total < plan.total / 2


@cache
def planned(cut: str = "f3", **settings: object) -> StepPlan:
    """A plan of the tiny study, crops of 128 pixels, one a step; names have __ for the dot."""
    base = {"latents.crop_size": 128, "train.batch": 1, "train.field.patch": 1, "runtime.dtype": "float32"}
    given = {
        name.replace("__", "."): list(value) if isinstance(value, tuple) else value for name, value in settings.items()
    }
    params = changed(read_yaml(Params, ROOT / "tests/tiny/params.yaml"), base | given)
    return plan_step(params, cut, tiny_model())


def test_weights_are_those_of_the_models(params, autoencoder):
    field, plan = build_field(params, "f2", autoencoder), plan_step(params, "f2", tiny_model())
    size = sum(value.nbytes for value in field.state_dict().values())
    assert plan.parameters == sum(parameter.numel() for parameter in field.parameters())
    assert plan.frozen == sum(value.nbytes for value in autoencoder.state_dict().values())
    assert plan.fixed == plan.frozen + 5 * size


@pytest.mark.parametrize(
    "settings",
    [
        {"train__checkpoint_tail": True},
        {"train__checkpoint_field": True},
        {"train__feature_tile": 64},
        {"train__field__patch": 2},
        {"train__losses__flow": 0, "train__losses__endpoint": 0, "train__losses__fft": 0},
        {"runtime__dtype": "bfloat16"},
    ],
)
def test_what_saves_memory_is_predicted_to(settings):
    assert planned(**settings).activations < 0.95 * planned().activations


@pytest.mark.parametrize(
    "settings",
    [
        {"train__field__hidden": 16},
        {"train__field__blocks": 2},
        {"train__field__block": "depthwise"},
        {"train__field__gate": "channel"},
    ],
)
def test_what_takes_memory_is_predicted_to(settings):
    assert planned(**settings).activations > 1.02 * planned().activations


def test_a_batch_is_divided_over_processes():
    one, two, shared = planned(), planned(train__batch=2), planned(train__batch=2, train__processes=2)
    assert two.activations == pytest.approx(2 * one.activations, rel=0.02)
    assert shared.activations == one.activations
    assert shared.step_flops == two.step_flops == pytest.approx(2 * one.step_flops, rel=1e-3)
    assert shared.gradients == 2 * one.gradients, "DDP's buckets"


def test_flops_of_a_step_count_its_passes():
    assert planned(train__accumulation=3).step_flops == 3 * planned().step_flops
    assert planned(train__checkpoint_field=True).step_flops > planned().step_flops


def test_steps_without_pixel_terms_count_in_the_mean_and_not_in_the_peak():
    every, fourth = planned(), planned(train__pixel_loss_every=4)
    never = planned(train__losses__rgb=0, train__losses__low_frequency=0, train__losses__high_frequency=0)
    assert fourth.activations == every.activations > never.activations
    assert fourth.step_flops == pytest.approx((every.step_flops + 3 * never.step_flops) / 4)


def test_scales_take_turns():
    two, four, both = planned(scales=(2,)), planned(scales=(4,)), planned(scales=(2, 4))
    assert four.step_flops < both.step_flops < two.step_flops
    assert both.activations >= two.activations
    assert both.field > two.field, "an embedding of each scale"


def test_a_teacher_is_another_field():
    plain, taught = planned(), planned(train__consistency__weight=1)
    assert taught.average == 2 * plain.average
    assert taught.step_flops > plain.step_flops


def test_inference_flops_are_those_of_the_real_computation(params, autoencoder):
    field, side = build_field(params, "f4", autoencoder), params.latents.crop_size

    def render() -> None:
        z_L = autoencoder.encode(torch.rand(1, 3, side // 2, side // 2))
        f_B = nn.functional.interpolate(autoencoder.head(z_L, "f4"), size=(side, side))
        autoencoder.tail(field(f_B, torch.zeros(1), f_B, 2).velocity, "f4")

    assert plan_step(params, "f4", tiny_model()).inference_flops == count_flops(render)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_planned_and_the_model_is_left_alone(params, family):
    model = tiny_of(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert plan_step(params, "f3", model).activations > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_storages_count_while_something_refers_to_them():
    x = torch.zeros(1000)
    with Tracer() as tracer:
        y = x + 1
        z = y.view(10, 100)
        assert (tracer.live, tracer.peak) == (4000, 4000), "a view is no new storage"
        x.mul_(2)
        x.view(10, 100)
        assert tracer.live == 4000, "nor is what was there before"
        del y
        assert tracer.live == 4000, "the view holds it"
        del z
        assert (tracer.live, tracer.peak) == (0, 4000)
        x.double()
        assert (tracer.live, tracer.peak) == (0, 8000)


def test_what_autograd_saves_counts_until_it_is_used():
    x = torch.zeros(1000, requires_grad=True)
    with Tracer() as tracer:
        loss = x.exp().exp().sum()
        assert tracer.live == 8004
        loss.backward()
        assert tracer.live == 4004, "the gradient and the loss"
    assert tracer.peak == 12008, "with one gradient and the loss's own"


@contextmanager
def autocast_on(device: str) -> Iterator[None]:
    """bfloat16 autocast, also for a device that is not here."""
    torch.set_autocast_enabled(device, True)
    torch.set_autocast_dtype(device, torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled(device, False)
        torch.clear_autocast_cache()


def precisions(params: Params, config: dict, device: str) -> dict[str, torch.dtype]:
    """Dtypes of what every module of decoder and field gives, and every convolution gets, on tensors without values."""
    autoencoder = FrozenAutoencoder(structure(config))
    channels, _, _ = autoencoder.feature_shape("f2", 64, 64)
    with torch.device("meta"):
        field = VectorField(channels, "f2", [2], "", **params.train.field.model_dump())
    whole, found = nn.ModuleList([autoencoder, field]), {}
    if device == "cpu":
        follow_cuda(whole)
    with FakeTensorMode(allow_non_fake_inputs=True), autocast_on(device):
        whole.to_empty(device=device)
        for name, module in whole.named_modules():
            if not list(module.children()):
                module.register_forward_hook(lambda _, __, result, name=name: found.update({name: result.dtype}))
            if isinstance(module, nn.Conv2d):
                module.register_forward_pre_hook(lambda _, args, name=name: found.update({f"to {name}": args[0].dtype}))
        f = autoencoder.head(torch.empty(1, autoencoder.latent_channels, 8, 8, device=device), "f2").float()
        autoencoder.tail(field(f, torch.empty(1, device=device), f, 2).velocity, "f2")
    return found


@pytest.mark.parametrize("config", [NARROW_FLUX, NARROW_TAEF2])
def test_precisions_are_those_of_cudas_autocast(params, config):
    expected = precisions(params, config, "cuda")
    assert set(expected.values()) == {torch.bfloat16, torch.float32}
    assert precisions(params, config, "cpu") == expected


def test_an_automatic_precision_needs_its_device(params):
    if torch.cuda.is_available():
        pytest.skip("the device is here")
    with pytest.raises(ValueError, match=r"runtime\.dtype auto asks the device cuda.*--set runtime\.dtype=bfloat16"):
        plan_step(changed(params, {"runtime.device": "cuda", "runtime.dtype": "auto"}), "f3", tiny_model())


def vae(**changes: object) -> Vae:
    plain = {"class": "AutoencoderKL", "path": "embedded", "subfolder": None, "revision": None}
    return Vae.model_validate(plain | {"dtype": "bfloat16", "tile": None} | changes)


def test_a_model_from_its_config_is_the_loaded_one_without_weights():
    model, loaded = model_from_config(vae()), load_autoencoder(vae(), "cpu").model
    shapes = {name: (value.shape, value.dtype) for name, value in loaded.state_dict().items()}
    assert {name: (value.shape, value.dtype) for name, value in model.state_dict().items()} == shapes
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_a_config_needs_no_weights_beside_it(tmp_path):
    tiny_model().save_config(tmp_path / "vae")
    assert isinstance(model_from_config(vae(path=str(tmp_path), subfolder="vae")), AutoencoderKL)
    assert isinstance(model_from_config(vae(path="public", **{"class": "TAEF2"})), Taef2)
    with pytest.raises(ValueError, match=r"set vae\.class to AutoencoderKL"):
        model_from_config(vae(path=str(tmp_path / "vae"), **{"class": "AutoencoderTiny"}))
    with pytest.raises(FileNotFoundError, match="no AutoencoderKL at"):
        model_from_config(vae(path=str(tmp_path)))


def test_remedies_go_on_until_the_peak_is_within_the_limit(params):
    params = changed(params, {"latents.crop_size": 128, "train.batch": 4, "train.accumulation": 2})
    model = tiny_model()
    plan = plan_step(params, "f4", model)
    assert find_remedies(params, plan, plan.total, model) == ()
    limit = plan.total // 3
    enough = find_remedies(params, plan, limit, model)
    totals = [plan.total, *(remedy.plan.total for remedy in enough)]
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] <= limit < totals[-2]
    settings = {name: value for remedy in enough for name, value in remedy.settings.items()}
    assert enough[-1].plan == plan_step(changed(params, settings), "f4", model)
    assert (settings["train.batch"], settings["train.accumulation"]) == (1, 8), "as many crops a step"


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("train.batch=2", ("train.batch", 2)),
        ("train.feature_tile=null", ("train.feature_tile", None)),
        ("scales=[2, 4]", ("scales", [2, 4])),
        ("tracking.project=a=b", ("tracking.project", "a=b")),
    ],
)
def test_settings_are_a_dotted_name_and_yaml(text, setting):
    assert parse_setting(text) == setting


def test_wrong_settings_are_named(params):
    for text in ("train.batch", "=2", "train.batch=[", ""):
        with pytest.raises(ValueError, match=r"setting '"):
            parse_setting(text)
    with pytest.raises(ValueError, match="setting trian.batch: trian is no section"):
        changed(params, {"trian.batch": 2})
    with pytest.raises(ValueError, match=r"train\.bach is not a known key"):
        changed(params, {"train.bach": 2})


@pytest.fixture
def command(root) -> list[str]:
    return ["plan", str(root / "tests/tiny/params.yaml"), "--set", "vae.path=embedded", "--set", "vae.tile=null"]


def test_the_command_prints_a_line_for_each_cut_and_what_to_change(command):
    result = CliRunner().invoke(app, [*command, "--cut", "f2", "--cut", "f4", "--memory", "0.045"])
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines() if line.startswith("│ f")]
    assert [line[1] for line in lines] == ["f2", "f4"]
    assert float(lines[0][-2]) <= 0.045 < float(lines[1][-2])
    text = " ".join(result.stdout.split())
    assert "f4 needs" in text
    assert "set train.checkpoint_tail=true (" in text
    assert "f2 needs" not in text


def test_what_is_not_enough_is_said():
    plan, less = (StepPlan("f4", 1, 1, 1, *[size] * 7) for size in (2**30, 2**29))
    item = CutPlan(plan, (Remedy({"train.batch": 1, "train.accumulation": 8}, less),))
    enough = "f4 needs 6.00 of 4 GiB; set train.batch=1 train.accumulation=8 (3.00)"
    assert advice(item, 4 * 2**30) == enough
    assert advice(item, 2 * 2**30) == enough.replace("of 4", "of 2") + (
        "; that is not enough: lower latents.crop_size, or take another cut"
    )


def test_the_command_prints_json(command, root):
    result = CliRunner().invoke(app, [*command, "--cut", "f3", "--json"])
    params = changed(read_yaml(Params, root / "tests/tiny/params.yaml"), {"vae.path": "embedded"})
    plan = plan_step(params, "f3")
    expected = asdict(plan) | {"fixed": plan.fixed, "total": plan.total, "remedies": []}
    assert json.loads(result.stdout) == [expected]


def test_given_a_speed_the_plan_says_seconds_and_hours_also_as_markdown(command, root):
    given = [*command, "--cut", "f3", "--tflops", "0.5", "--markdown"]
    lines = CliRunner().invoke(app, given).stdout.splitlines()
    heads, line = ([cell.strip() for cell in text.strip("|").split("|")] for text in (lines[2], lines[4]))
    found = dict(zip(heads, line, strict=True))
    params = changed(read_yaml(Params, root / "tests/tiny/params.yaml"), {"vae.path": "embedded"})
    seconds = plan_step(params, "f3").step_flops / 0.5e12
    assert float(found["s per step"]) == pytest.approx(seconds, rel=0.01)
    assert float(found["hours of all steps"]) == pytest.approx(seconds * params.train.steps / 3600, rel=0.01)
