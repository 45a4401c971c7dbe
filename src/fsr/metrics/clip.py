"""How well an image fits the prompt it was generated from: the cosine of CLIP's embeddings."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPModel, CLIPProcessor

from fsr.images import to_bytes


@dataclass(frozen=True)
class ClipScore:
    """A loaded CLIP (Radford et al. 2021, arXiv 2103.00020).

    Call it on an image (1, 3, H, W) in [0, 1] and the prompt it was generated from.
    """

    model: CLIPModel
    processor: CLIPProcessor

    @property
    def longest_prompt(self) -> int:
        """Tokens the model reads, those of start and end included; what is beyond is cut off."""
        return self.model.config.text_config.max_position_embeddings

    @torch.inference_mode()
    def __call__(self, image: Tensor, prompt: str) -> float:
        """The cosine in [-1, 1] of image and prompt; higher fits better.

        The image is rounded to 8 bits, and resized, cropped around its centre and normalised as the model's own
        preprocessor says. Of a prompt over `longest_prompt` tokens the first are read.

        Raises:
            ValueError: more than one image.
        """
        if image.ndim != 4 or len(image) != 1:
            raise ValueError(
                f"a prompt belongs to one image (1, 3, H, W), not to {tuple(image.shape)}; give one a call"
            )
        inputs = self.processor(
            text=[prompt],
            images=[to_bytes(image)[0].cpu()],
            truncation=True,
            max_length=self.longest_prompt,
            return_tensors="pt",
        ).to(self.model.device)
        output = self.model(**inputs)
        return F.cosine_similarity(output.image_embeds.double(), output.text_embeds.double()).item()


def load_clip(model: str, device: str) -> ClipScore:
    """The CLIP at a hub id or in a local folder, in float32; weights in pickle files are not loaded.

    Raises:
        FileNotFoundError: nothing there, or the hub is out of reach; says what to do.
        ValueError: what is there is damaged or no CLIP.
    """
    try:
        network, info = CLIPModel.from_pretrained(
            model, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        processor = CLIPProcessor.from_pretrained(model, use_safetensors=True)
    except OSError as error:
        raise FileNotFoundError(
            f"no CLIP at benchmark.distribution.clip {model!r}; give a hub id that you can reach, or a folder with "
            "config.json, model.safetensors and the files of its preprocessor and tokenizer, or null for no cosines"
        ) from error
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"weights of CLIP {model!r} are damaged or do not fit its config; fetch it again") from error
    if info["missing_keys"]:
        raise ValueError(f"CLIP {model!r} lacks weights ({min(info['missing_keys'])}, ...); fetch it again")
    words, expected = len(processor.tokenizer), network.config.text_config.vocab_size
    if words != expected:  # what transformers makes up where the tokenizer's files are missing
        raise ValueError(f"the tokenizer of CLIP {model!r} knows {words} tokens, not {expected}; fetch its files again")
    return ClipScore(network.eval().requires_grad_(False).to(device), processor)
