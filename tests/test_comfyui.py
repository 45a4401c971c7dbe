"""The ComfyUI nodes, against ComfyUI's own API where it can be imported, else against a small stand-in of it."""

import asyncio
import gc
import importlib.util
import json
import logging
import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL
from tiny_models import tiny_model
from torch import Tensor, nn

from fsr.autoencoders import FrozenAutoencoder, weights_sha256
from fsr.config import Vae
from fsr.decoder import FSRDecoder
from fsr.flow.field import VectorField
from fsr.pipeline import ImagePipeline

PACKAGE = Path(__file__).parents[1] / "integrations/comfyui"
REAL = importlib.util.find_spec("comfy_api") is not None


# The stand-in: what the nodes use of comfy_api.latest, comfy and folder_paths, and no argument more.


def socket(io_type: str) -> type:
    class Input:
        def __init__(self, id, display_name=None, optional=False, tooltip=None):
            self.id, self.optional, self.options = id, optional, {"tooltip": tooltip} if tooltip else {}
            self.io_type = io_type

    class Output:
        def __init__(self, id=None, display_name=None, tooltip=None, is_output_list=False):
            self.id, self.display_name, self.io_type = id, display_name, io_type

    return type(io_type, (), {"Input": Input, "Output": Output, "io_type": io_type})


class Combo(socket("COMBO")):
    class Input(socket("COMBO").Input):
        def __init__(self, id, options=None, display_name=None, optional=False, tooltip=None, default=None):
            super().__init__(id, display_name, optional, tooltip)
            self.options["options"] = options


class Int(socket("INT")):
    class Input(socket("INT").Input):
        def __init__(
            self, id, display_name=None, optional=False, tooltip=None, default=None, min=None, max=None, step=None
        ):
            super().__init__(id, display_name, optional, tooltip)
            self.options |= {"default": default, "min": min, "max": max}


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    description: str = ""


class NodeOutput:
    def __init__(self, *args):
        self.result = args


class ComfyNode:
    @classmethod
    def GET_NODE_INFO_V1(cls) -> dict:
        schema, inputs = cls.define_schema(), {"required": {}}
        identities = [each.id for each in (*schema.inputs, *schema.outputs) if each.id is not None]
        assert len(set(identities)) == len(identities), "ids are unique"
        for each in schema.inputs:
            inputs.setdefault("optional" if each.optional else "required", {})[each.id] = (each.io_type, each.options)
        outputs = [each.io_type for each in schema.outputs]
        return {"name": schema.node_id, "display_name": schema.display_name, "input": inputs, "output": outputs}

    @classmethod
    def EXECUTE_NORMALIZED(cls, **inputs) -> NodeOutput:
        output = cls.execute(**inputs)
        assert isinstance(output, NodeOutput)
        return output


class ComfyExtension:
    pass


class ProgressBar:
    seen: list

    def __init__(self, total):
        ProgressBar.seen = [total]

    def update_absolute(self, value):
        ProgressBar.seen.append(value)


def stand_ins(models: Path) -> dict[str, ModuleType]:
    io = SimpleNamespace(
        Schema=Schema, NodeOutput=NodeOutput, ComfyNode=ComfyNode, Combo=Combo, Int=Int,
        **{name: socket(name.upper()) for name in ("Image", "Latent", "Vae")},
    )  # fmt: skip
    folders: dict[str, list[str]] = {}
    management = {
        "vae_device": lambda: torch.device("cpu"),
        "vae_offload_device": lambda: torch.device("cpu"),
        "free_memory": lambda memory, device: None,
        "throw_exception_if_processing_interrupted": lambda: None,
    }
    contents = {
        "comfy_api": {},
        "comfy_api.latest": {"io": io, "ComfyExtension": ComfyExtension},
        "comfy": {},
        "comfy.model_management": management,
        "comfy.utils": {"ProgressBar": ProgressBar},
        "folder_paths": {
            "models_dir": str(models),
            "add_model_folder_path": lambda name, path: folders.setdefault(name, []).append(path),
            "get_folder_paths": lambda name: list(folders[name]),
        },
    }
    modules = {name: ModuleType(name) for name in contents}
    for name, values in contents.items():
        vars(modules[name]).update(values)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(modules[parent], last, modules[name])
    return modules


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The nodes' package, loaded as ComfyUI loads a folder of custom_nodes, and models/fsr/tiny beside it."""
    with pytest.MonkeyPatch.context() as patch:
        models = tmp_path_factory.mktemp("comfyui") / "models"
        if not REAL:
            for name, module in stand_ins(models).items():
                patch.setitem(sys.modules, name, module)
        import folder_paths

        patch.setattr(folder_paths, "models_dir", str(models))
        published(models)
        spec = importlib.util.spec_from_file_location(
            "fsr_comfyui", PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
        )
        loaded = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "fsr_comfyui", loaded)
        spec.loader.exec_module(loaded)
        loaded.models = models / "fsr"
        yield loaded


def random_model(quant: bool = False) -> AutoencoderKL:
    """A tiny VAE none of whose weights is at a value that others have."""
    model = tiny_model(quant=quant)
    generator = torch.Generator().manual_seed(3)
    for value in model.parameters():
        value.data += 0.05 * torch.randn(value.shape, generator=generator)
    return model.eval()


def published(models: Path, quant: bool = False) -> FSRDecoder:
    """A decoder of scales 2 and 4, saved to models/fsr/tiny, and its VAE to models/vae."""
    frozen = FrozenAutoencoder(random_model(quant))
    frozen.model.save_pretrained(models / "vae")
    torch.manual_seed(1)
    channels = frozen.decoder.cut("f4").channels
    sizes = {"hidden": 16, "blocks": 1, "block": "residual", "patch": 1, "gate": "none"}
    trained = VectorField(channels, "f4", [2, 4], weights_sha256(frozen), **sizes)
    torch.nn.init.normal_(trained.out_velocity.weight, std=0.3)
    place = {"path": str(models / "vae"), "subfolder": None, "revision": None, "dtype": "float32", "tile": None}
    decoder = FSRDecoder.from_field(trained.eval(), frozen, Vae(family="AutoencoderKL", **place))
    decoder.save_pretrained(models / "fsr/tiny")
    return decoder


# Names of the original latent-diffusion code, which ComfyUI's VAE classes keep, for those of diffusers.
RENAMED = [
    (r"^(encoder|decoder)\.conv_norm_out\.", r"\1.norm_out."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", ".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.to_([qkv])\.", r".mid.attn_1.\1."),
    (r"\.mid_block\.attentions\.0\.to_out\.0\.", ".mid.attn_1.proj_out."),
    (r"\.down_blocks\.(\d)\.resnets\.(\d)\.", r".down.\1.block.\2."),
    (r"\.down_blocks\.(\d)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
]


def original_weights(model: AutoencoderKL) -> dict[str, Tensor]:
    """A VAE's weights under the names and in the shapes ComfyUI has them."""
    renamed, count = {}, len(model.config.block_out_channels)
    for name, value in model.state_dict().items():
        for pattern, new in RENAMED:
            name = re.sub(pattern, new, name)
        name = re.sub(r"\.up_blocks\.(\d)\.resnets\.", lambda found: f".up.{count - 1 - int(found[1])}.block.", name)
        name = re.sub(r"\.up_blocks\.(\d)\.upsamplers\.0\.", lambda f: f".up.{count - 1 - int(f[1])}.upsample.", name)
        convolution = ".mid.attn_1." in name and name.endswith("weight") and ".norm." not in name
        renamed[name] = value[..., None, None] if convolution else value
    return renamed


class ComfyVAE:
    """As comfy.sd.VAE: a module of ComfyUI's own classes inside, and its weights by get_sd."""

    def __init__(self, model: AutoencoderKL, dtype: torch.dtype = torch.float32) -> None:
        self.first_stage_model = nn.Module()
        self.weights = {name: value.to(dtype) for name, value in original_weights(model).items()}

    def get_sd(self) -> dict[str, Tensor]:
        return self.weights


def latents(count: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(count, 4, 5, 6, generator=torch.Generator().manual_seed(seed))


def run(node, **inputs) -> Tensor:
    return node.EXECUTE_NORMALIZED(**inputs).result[0]


@pytest.mark.parametrize("quant", [False, True])
def test_a_vae_of_comfyuis_becomes_diffusers_weight_for_weight(package, tmp_path, quant):
    decoder, model = published(tmp_path, quant), random_model(quant)
    weights = original_weights(model)
    assert "decoder.up.3.block.0.conv1.weight" in weights and weights["encoder.mid.attn_1.q.weight"].ndim == 4
    converted = package.nodes.core.converted(weights, decoder)
    assert converted.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in converted.state_dict().items())
    with torch.no_grad():
        assert torch.equal(converted.decode(latents()).sample, model.decode(latents()).sample)
    pointers = {value.data_ptr() for value in weights.values()}
    assert not pointers & {value.data_ptr() for value in converted.state_dict().values()}, "ComfyUI may move its own"


@pytest.mark.parametrize("scale", [2, 4])
def test_fsr_decode_gives_what_the_decoder_gives(package, scale):
    model, z = random_model(), latents(2)
    decoder = FSRDecoder.from_pretrained(package.models / "tiny").attach(random_model(), scale)
    with torch.no_grad():
        expected = (decoder.decode(z, return_dict=False)[0] * 0.5 + 0.5).clamp(0, 1).movedim(1, -1)
        plain = (model.decode(z).sample * 0.5 + 0.5).clamp(0, 1).movedim(1, -1)
    got = run(package.nodes.FSRDecode, samples={"samples": z}, vae=ComfyVAE(model), model="tiny", scale=scale)
    assert got.shape == (2, scale * 40, scale * 48, 3) and plain.shape == (2, 40, 48, 3)
    assert got.dtype == torch.float32 and got.device.type == "cpu" and 0 <= got.min() < got.max() <= 1
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_a_vae_that_comfyui_cast_is_known_too(package):
    got = run(
        package.nodes.FSRDecode,
        samples={"samples": latents()},
        vae=ComfyVAE(random_model(), torch.bfloat16),
        model="tiny",
        scale=2,
    )
    exact = run(
        package.nodes.FSRDecode, samples={"samples": latents()}, vae=ComfyVAE(random_model()), model="tiny", scale=2
    )
    assert got.dtype == torch.float32 and 0 < (got - exact).abs().mean() < 0.02
    decoder = FSRDecoder.from_pretrained(package.models / "tiny")
    for dtype in (torch.float32, torch.bfloat16):
        weights = ComfyVAE(random_model(), dtype).get_sd()
        assert package.nodes.core.converted(weights, decoder).dtype == dtype, "it computes in what ComfyUI chose"


def other_weights() -> dict[str, ComfyVAE]:
    changed = random_model()
    changed.decoder.conv_out.weight.data[0, 0, 0, 0] += 1e-3
    wide, tiny_autoencoder, video = ComfyVAE(tiny_model(widths=(8, 16, 16, 32))), ComfyVAE(random_model()), None
    tiny_autoencoder.weights = {"taesd_decoder.1.weight": torch.zeros(8, 4, 3, 3)}
    video = ComfyVAE(random_model())
    video.weights["decoder.conv_in.weight"] = video.weights["decoder.conv_in.weight"][..., None]
    half = ComfyVAE(random_model())
    half.weights = {name: value for name, value in half.weights.items() if name.startswith("decoder.")}
    return {"one weight": ComfyVAE(changed), "widths": wide, "taesd": tiny_autoencoder, "video": video, "half": half}


@pytest.mark.parametrize("name", other_weights())
def test_another_vae_is_refused(package, name):
    with pytest.raises(ValueError, match=r"another VAE|other weights|not built like|weights") as refused:
        run(package.nodes.FSRDecode, samples={"samples": latents()}, vae=other_weights()[name], model="tiny", scale=2)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 3}, "scale 3 is not one this field was trained for; choose one of 2, 4"),
        ({"samples": {"samples": torch.zeros(1, 4, 2, 5, 6)}}, "not this autoencoder's"),
        ({"samples": {"samples": torch.zeros(1, 16, 5, 6)}}, "not this autoencoder's"),
        ({"samples": {"samples": torch.full((1, 4, 5, 6), torch.nan)}}, "not all finite"),
        ({"model": "gone"}, "put what fsr publish wrote there"),
    ],
    ids=["scale", "video", "channels", "nan", "model"],
)
def test_what_cannot_be_decoded_is_said(package, changes, message):
    given = {"samples": {"samples": latents()}, "vae": ComfyVAE(random_model()), "model": "tiny", "scale": 2}
    with pytest.raises(ValueError, match=re.escape(message)):
        run(package.nodes.FSRDecode, **given | changes)


@pytest.mark.parametrize("with_vae", [True, False])
def test_fsr_upscale_image_gives_what_the_pipeline_gives(package, with_vae):
    images = torch.rand(2, 19, 26, 3, generator=torch.Generator().manual_seed(5))
    decoder = FSRDecoder.from_pretrained(package.models / "tiny")
    pipeline = ImagePipeline(FrozenAutoencoder(random_model()), decoder.field, 2)
    expected = torch.cat([pipeline(each) for each in images.movedim(-1, 1).split(1)]).clamp(0, 1).movedim(1, -1)
    vae = {"vae": ComfyVAE(random_model())} if with_vae else {}
    got = run(package.nodes.FSRUpscaleImage, image=images, model="tiny", scale=2, **vae)
    assert got.shape == (2, 38, 52, 3)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    with_alpha = torch.cat([images, torch.zeros(2, 19, 26, 1)], dim=-1)
    assert torch.equal(run(package.nodes.FSRUpscaleImage, image=with_alpha, model="tiny", scale=2, **vae), got)


def test_the_network_is_loaded_once_for_as_long_as_nothing_changes(package, tmp_path):
    published(tmp_path)
    folder, loaded, vae = tmp_path / "fsr/tiny", package.nodes.core.Loaded(), ComfyVAE(random_model())
    first = loaded.get(folder, vae)
    assert loaded.get(folder, vae) is first
    second = loaded.get(folder, other := ComfyVAE(random_model()))
    assert second is not first and loaded.get(folder, other) is second
    assert loaded.get(folder, None) is not second
    config = folder / "config.json"
    third = loaded.get(folder, vae)
    config.write_text(config.read_text() + "\n")
    assert loaded.get(folder, vae) is not third
    module = vae.first_stage_model
    del vae
    gc.collect()
    assert sys.getrefcount(module) <= 2, "a VAE is not kept alive"
    with pytest.raises(ValueError, match="weights|another"):
        loaded.get(folder, other_weights()["one weight"])


def test_more_memory_is_asked_for_more_pixels(package):
    needed, decoder = package.nodes.core.memory_needed, package.nodes.LOADED.get(package.models / "tiny", None)
    weights = needed(decoder, 0)
    assert weights == 4 * (
        decoder.field.num_parameters() + 2 * len(decoder.field.feature_mean) + decoder.vae.num_parameters()
    )
    assert needed(decoder, 100) - weights == 100 * 4 * 8 * 4


def test_the_network_leaves_the_device_whatever_happens(package):
    moves = []
    decoder = SimpleNamespace(to=moves.append)
    with pytest.raises(KeyError), package.nodes.core.on_device(decoder, "fast", "slow"):
        assert moves == ["fast"]
        raise KeyError
    assert moves == ["fast", "slow"]


@pytest.mark.skipif(REAL, reason="the stand-in's own counters")
def test_progress_is_told_and_an_interruption_is_heeded(package, monkeypatch):
    given = {"samples": {"samples": latents(3)}, "vae": ComfyVAE(random_model()), "model": "tiny", "scale": 2}
    run(package.nodes.FSRDecode, **given)
    assert ProgressBar.seen == [3, 0, 1, 2]

    def interrupted():
        if len(ProgressBar.seen) > 1:
            raise InterruptedError

    management = sys.modules["comfy.model_management"]
    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", interrupted)
    with pytest.raises(InterruptedError):
        run(package.nodes.FSRDecode, **given)
    assert ProgressBar.seen == [3, 0]


def test_only_published_models_are_offered(package, tmp_path, caplog):
    for name, text in {"b": '{"_class_name": "FSRDecoder"}', "a": '{"_class_name": "VectorField"}', "c": "{"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        found = package.nodes.core.models_in([package.models, tmp_path, tmp_path / "none"])
    assert found == {"b": tmp_path / "b", "tiny": package.models / "tiny"}
    assert "c is left out" in caplog.text
    kind, options = package.nodes.FSRDecode.GET_NODE_INFO_V1()["input"]["required"]["model"]
    assert kind == "COMBO" and options["options"] == ["tiny"]


def nodes_of(package) -> dict[str, dict]:
    extension = asyncio.run(package.comfy_entrypoint())
    infos = [node.GET_NODE_INFO_V1() for node in asyncio.run(extension.get_node_list())]
    return {info["name"]: info for info in infos}


def test_comfyui_finds_both_nodes_with_their_sockets(package):
    found = nodes_of(package)
    assert {info["display_name"] for info in found.values()} == {"FSR Decode", "FSR Upscale Image"}
    assert all(list(info["output"]) == ["IMAGE"] for info in found.values())
    sockets = {name: {key: value[0] for part in info["input"].values() for key, value in part.items()}
               for name, info in found.items()}  # fmt: skip
    assert sockets["FSRDecode"] == {"samples": "LATENT", "vae": "VAE", "model": "COMBO", "scale": "INT"}
    assert sockets["FSRUpscaleImage"] == {"image": "IMAGE", "model": "COMBO", "scale": "INT", "vae": "VAE"}
    assert list(found["FSRUpscaleImage"]["input"]["optional"]) == ["vae"]


# Sockets and widgets of ComfyUI's own nodes that the examples use: inputs, widgets in order, outputs.
CORE = {
    "UNETLoader": ({}, ["unet_name", "weight_dtype"], ["MODEL"]),
    "DualCLIPLoader": ({}, ["clip_name1", "clip_name2", "type", "device"], ["CLIP"]),
    "VAELoader": ({}, ["vae_name"], ["VAE"]),
    "CLIPTextEncode": ({"clip": "CLIP"}, ["text"], ["CONDITIONING"]),
    "FluxGuidance": ({"conditioning": "CONDITIONING"}, ["guidance"], ["CONDITIONING"]),
    "ConditioningZeroOut": ({"conditioning": "CONDITIONING"}, [], ["CONDITIONING"]),
    "EmptySD3LatentImage": ({}, ["width", "height", "batch_size"], ["LATENT"]),
    "KSampler": (
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"},
        ["seed", None, "steps", "cfg", "sampler_name", "scheduler", "denoise"],  # None: of the page alone
        ["LATENT"],
    ),
    "LoadImage": ({}, ["image", None], ["IMAGE", "MASK"]),
    "SaveImage": ({"images": "IMAGE"}, ["filename_prefix"], []),
}


def known_nodes(package) -> dict[str, tuple[dict, list, list]]:
    own = {}
    for name, info in nodes_of(package).items():
        inputs = {key: value[0] for part in info["input"].values() for key, value in part.items()}
        widgets = [key for key, kind in inputs.items() if kind in ("COMBO", "INT")]
        own[name] = {key: kind for key, kind in inputs.items() if key not in widgets}, widgets, list(info["output"])
    return CORE | own


EXAMPLES = ["fsr_decode.json", "fsr_upscale_image.json"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_for_the_api_fits_the_nodes(package, name):
    known, graph = known_nodes(package), json.loads((PACKAGE / "api_workflows" / name).read_text())
    for node in graph.values():
        sockets, widgets, _ = known[node["class_type"]]
        assert set(node["inputs"]) == {*sockets, *filter(None, widgets)}
        for key, value in node["inputs"].items():
            assert isinstance(value, list) == (key in sockets)
            if key in sockets:
                source, index = value
                assert known[graph[source]["class_type"]][2][index] == sockets[key]
            elif key == "scale":
                assert value in (2, 4)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_for_the_page_is_the_one_for_the_api(package, name):
    known, page = known_nodes(package), json.loads((PACKAGE / "example_workflows" / name).read_text())
    nodes, links = {node["id"]: node for node in page["nodes"]}, {link[0]: link for link in page["links"]}
    assert page["last_node_id"] == max(nodes) and page["last_link_id"] == max(links) and page["version"] == 0.4
    assert len(nodes) == len(page["nodes"]) and len(links) == len(page["links"])
    for number, source, index, target, place, kind in links.values():
        assert nodes[source]["outputs"][index]["type"] == nodes[target]["inputs"][place]["type"] == kind
        assert number in nodes[source]["outputs"][index]["links"] and nodes[target]["inputs"][place]["link"] == number
    listed = [link for node in nodes.values() for output in node["outputs"] for link in output["links"] or []]
    assert sorted(listed) == sorted(links)
    graph = {}
    for key, node in nodes.items():
        sockets, widgets, outputs = known[node["type"]]
        assert {each["name"]: each["type"] for each in node["inputs"]} == sockets
        assert [each["type"] for each in node["outputs"]] == outputs
        inputs = {widget: value for widget, value in zip(widgets, node["widgets_values"], strict=True) if widget}
        inputs |= {each["name"]: [str(links[each["link"]][1]), links[each["link"]][2]] for each in node["inputs"]}
        graph[str(key)] = {"class_type": node["type"], "inputs": inputs}
    assert graph == json.loads((PACKAGE / "api_workflows" / name).read_text())


def test_what_the_registry_reads():
    about = tomllib.loads((PACKAGE / "pyproject.toml").read_text())
    assert {"PublisherId", "DisplayName", "Icon"} <= about["tool"]["comfy"].keys()
    assert (
        re.fullmatch(r"[a-z](?:[-_.]?[a-z0-9])*", about["project"]["name"]) and "comfy" not in about["project"]["name"]
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+", about["project"]["version"])
    lines = [*(PACKAGE / "requirements.txt").read_text().splitlines(), *about["project"]["dependencies"]]
    assert not [line for line in lines if re.match(r"\s*fsr\b(?!\s*@)", line)], "PyPI's fsr is another project"
