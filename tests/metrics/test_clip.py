import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

from fsr.images import to_bytes
from fsr.metrics.clip import load_clip

SIDE, LONGEST = 32, 12
TOKENS = ["<|startoftext|>", "<|endoftext|>", *(letter + end for end in ("", "</w>") for letter in "abcdefgh")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random CLIP as transformers saves one: letters are tokens, prompts have at most ten."""
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(TOKENS), "max_position_embeddings": LONGEST, "bos_token_id": 0, "eos_token_id": 1}
    vision = {"image_size": SIDE, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=size | text, vision_config=size | vision, projection_dim=8))
    tokenizer = CLIPTokenizer(vocab={token: index for index, token in enumerate(TOKENS)}, merges=[])
    images = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    place = tmp_path_factory.mktemp("clip")
    model.save_pretrained(place)
    CLIPProcessor(images, tokenizer).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def clip(folder):
    return load_clip(str(folder), "cpu")


def picture(seed: int = 0, height: int = 40, width: int = 56) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def tokens(word: str) -> list[int]:
    """Start, letters, the last with its end of word, end."""
    return [0, *(TOKENS.index(letter) for letter in word[:-1]), TOKENS.index(word[-1] + "</w>"), 1]


def test_the_cosine_is_that_of_the_models_own_towers_and_projections(clip, folder):
    """Preprocessed by hand: Pillow's bicubic to 32 the shortest side, its centre, CLIP's normalisation."""
    model = CLIPModel.from_pretrained(folder, use_safetensors=True).eval()
    weights = load_file(folder / "model.safetensors")
    small = Image.fromarray(to_bytes(picture())[0].permute(1, 2, 0).numpy()).resize(
        (44, SIDE), Image.Resampling.BICUBIC
    )
    centre = torch.from_numpy(np.asarray(small)[:, 6 : 6 + SIDE].copy()).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = (centre - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.inference_mode():
        seen = model.vision_model(pixel_values=pixels).pooler_output @ weights["visual_projection.weight"].T
        hidden = model.text_model(input_ids=torch.tensor([tokens("bad")])).last_hidden_state[:, -1]
    read = hidden @ weights["text_projection.weight"].T
    expected = (seen @ read.T).item() / (seen.norm() * read.norm()).item()
    assert clip(picture(), "bad") == pytest.approx(expected, abs=1e-3)


def test_a_cosine_does_not_depend_on_what_else_is_measured(clip):
    """Alone, again, and in a batch padded to the longest prompt."""
    pictures, prompts = [picture(0), picture(1, 56, 40)], ["a", "bad cafe"]
    alone = [clip(image, prompt) for image, prompt in zip(pictures, prompts, strict=True)]
    assert alone == [clip(image, prompt) for image, prompt in zip(pictures, prompts, strict=True)]
    images = [to_bytes(image)[0] for image in pictures]
    inputs = clip.processor(text=prompts, images=images, padding=True, return_tensors="pt")
    with torch.inference_mode():
        output = clip.model(**inputs)
    together = torch.nn.functional.cosine_similarity(output.image_embeds, output.text_embeds)
    assert alone == pytest.approx(together.tolist(), abs=1e-5)
    assert alone[0] != alone[1]


def test_a_long_prompt_is_cut_at_the_models_length(clip):
    assert clip.longest_prompt == LONGEST
    assert clip(picture(), "abcdefghab" + "cc") == clip(picture(), "abcdefghab" + "dddd")
    assert clip(picture(), "abcdefgha" + "cc") != clip(picture(), "abcdefgha" + "ddd")


def test_a_prompt_belongs_to_one_image(clip):
    with pytest.raises(ValueError, match="one image"):
        clip(picture().repeat(2, 1, 1, 1), "a")


def test_an_absent_model_is_an_error_with_its_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match="no CLIP at benchmark.distribution.clip .*; give a hub id"):
        load_clip(str(tmp_path / "nothing"), "cpu")


@pytest.mark.parametrize("file", ["model.safetensors", "processor_config.json"])
def test_a_folder_that_lacks_a_file_is_an_error_with_its_remedy(folder, tmp_path, file):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / file).unlink()
    if file == "model.safetensors":  # which are not loaded in its place
        torch.save(load_file(folder / file), tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="a folder with config.json, model.safetensors and the files of"):
        load_clip(str(tmp_path), "cpu")


def test_a_tokenizer_without_its_words_is_not_taken(folder, tmp_path):
    """transformers would read any prompt as a row of unknown words."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=f"knows [23] tokens, not {len(TOKENS)}; fetch its files again"):
        load_clip(str(tmp_path), "cpu")


def test_weights_that_are_damaged_or_missing_are_not_made_up(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    save_file({name: value for name, value in weights.items() if name != "visual_projection.weight"}, file)
    with pytest.raises(ValueError, match="lacks weights .visual_projection.weight"):
        load_clip(str(tmp_path), "cpu")
    save_file(weights | {"visual_projection.weight": torch.zeros(3, 3)}, file)
    with pytest.raises(ValueError, match="damaged or do not fit"):
        load_clip(str(tmp_path), "cpu")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged or do not fit"):
        load_clip(str(tmp_path), "cpu")
