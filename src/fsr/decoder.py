"""FSR in the VAE's place of a diffusers pipeline, whose images then come out larger: nothing is encoded again."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import FrozenDict, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.utils import logging
from diffusers.utils.accelerate_utils import apply_forward_hook
from huggingface_hub import constants
from torch import Tensor, nn

from fsr.autoencoders import FrozenAutoencoder, load_autoencoder
from fsr.autoencoders.fingerprint import check_vae, is_away
from fsr.config import Vae
from fsr.files import check_writable, write_atomically, write_text
from fsr.flow.field import VectorField
from fsr.modelcard import CARD, identity, model_card, read_study, statistics_of, upload
from fsr.pipeline import ImagePipeline
from fsr.sections import validated
from fsr.tiling import Tiling, parse_memory

logger = logging.get_logger(__name__)

PUSHING = ("commit_message", "private", "token", "create_pr", "subfolder")
SETTLED = ("torch_dtype", "dtype", "use_safetensors")  # the field is float32, in safetensors
HOOKS = ("_hf_hook", "_old_forward", "_diffusers_hook")  # of this module or of none


class FSRDecoder(ModelMixin, ConfigMixin):
    """A trained field in the place of a pipeline's VAE: `pipe.vae = FSRDecoder.from_pretrained(x).attach(pipe.vae)`.

    `decode` gives images `scale` times as large as the VAE's own, by the reported method; `encode`, the configuration
    and whatever else a pipeline asks of a VAE are the VAE's. Parameters, state_dict and files are the field's alone;
    the VAE moves along with it. The field stays in float32 whatever dtype the VAE has. There are no gradients.

    Args:
        cut, scales, autoencoder: as of `VectorField`; network: its other arguments.
        base_vae: the VAE it was trained for: class, path, subfolder and revision, as section `vae` has them.
        architecture: that VAE's configuration; fingerprint: SHA-256 of it ("config") and of its weights in each dtype.
        statistics: {"mean", "std"} of the features, as in the field's buffers.
    """

    _supports_group_offloading = False

    @register_to_config
    def __init__(
        self,
        cut: str,
        scales: list[int],
        autoencoder: str,
        network: dict[str, Any],
        base_vae: dict[str, str | None],
        architecture: dict[str, Any],
        fingerprint: dict[str, str],
        statistics: dict[str, list[float]],
    ) -> None:
        super().__init__()
        self.field = VectorField(cut=cut, scales=scales, autoencoder=autoencoder, **network)
        self.use_tiling, self.use_slicing, self.tiling, self._scale = False, False, Tiling(), scales[0]
        self.study, self.card = None, None
        self._frozen: FrozenAutoencoder | None = None
        self._pipeline: ImagePipeline | None = None

    @classmethod
    def from_field(cls, field: VectorField, autoencoder: FrozenAutoencoder, vae: Vae) -> Self:
        """The decoder of a field; `autoencoder` is what `vae` names, in float32."""
        decoder = cls(**identity(field, autoencoder, vae)).eval()
        decoder.field.load_state_dict(field.state_dict())
        return decoder

    @classmethod
    def from_study(cls, results: Path | str, **base: str | None) -> Self:
        """The decoder of a study's field, by what training left in results/<experiment>; `base` is as of `read_study`.

        Raises:
            FileNotFoundError, ValueError: as `read_study`.
        """
        decoder = cls.from_field(*read_study(Path(results), **base))
        decoder.study = Path(results)
        return decoder

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Path | str, **options: Any) -> Self:
        """A saved decoder, to be attached to a VAE; options are ModelMixin's, but `torch_dtype` means nothing here.

        Raises:
            FileNotFoundError: none there, or the hub is out of reach. ValueError: it is something else, or not whole.
        """
        place, offline = pretrained_model_name_or_path, ", or unset HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else ""
        options = {key: value for key, value in options.items() if key not in SETTLED}
        try:
            if (found := cls.load_config(place, **options).get("_class_name")) != cls.__name__:
                raise TypeError(f"it is {found or 'no class of diffusers'}")
            options |= {"output_loading_info": True}
            decoder, info = super().from_pretrained(place, use_safetensors=True, **options)
        except TypeError as error:
            raise ValueError(f"{place} is no {cls.__name__} ({error}); make one of a study with fsr publish") from error
        except (OSError, ValueError, RuntimeError) as error:
            raise FileNotFoundError(
                f"no whole {cls.__name__} at {place}; give a folder that fsr publish wrote, or a hub id that you can "
                f"reach and are allowed to read (HF_TOKEN){offline}"
            ) from error
        if info["missing_keys"] or decoder._internal_dict["statistics"] != statistics_of(decoder.field):
            what = "lacks weights" if info["missing_keys"] else "has other feature statistics than its config.json"
            raise ValueError(f"the {cls.__name__} at {place} {what}; fetch it again")
        card = Path(place, options.get("subfolder") or "", CARD)
        decoder.card = card.read_text(encoding="utf-8") if card.is_file() else None
        return decoder.eval()

    def save_pretrained(
        self, save_directory: Path | str, push_to_hub: bool = False, repo_id: str | None = None, **options: Any
    ) -> None:
        """Write the field, its configuration and a model card; options are ModelMixin's.

        Raises:
            OSError: the folder cannot be written; each file that stood there is whole. ValueError: not as safetensors.
        """
        folder = Path(save_directory)
        pushing = {key: options.pop(key) for key in PUSHING if key in options}
        if not options.get("safe_serialization", True):
            raise ValueError("a field is saved as safetensors only; leave safe_serialization on")
        check_writable(folder)
        with TemporaryDirectory() as temporary:
            super().save_pretrained(temporary, **options)
            for file in sorted(Path(temporary).iterdir()):
                write_atomically(folder / file.name, partial(shutil.copyfile, file))
        name = repo_id or folder.name
        card = self.card or model_card(self._internal_dict, name, self.field.num_parameters(), self.study)
        write_text(folder / CARD, f"{str(card).rstrip()}\n")
        if push_to_hub:
            self.push_to_hub(name, **pushing)

    def push_to_hub(self, repo_id: str, commit_message: str | None = None, **options: Any) -> str:
        """Upload what `save_pretrained` writes; the address of the commit. Options are ModelMixin's.

        Raises:
            ValueError: the VAE is a folder of this machine. OSError: the hub refuses, or is out of reach.
        """
        if Path(base := self._internal_dict["base_vae"]["path"]).is_dir():
            raise ValueError(f"its VAE is the folder {base}, which others do not have; publish with --base-vae HUB_ID")
        uploading = {key: options.pop(key) for key in PUSHING if key in options}
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, repo_id=repo_id, **options)
            return upload(Path(folder), repo_id, commit_message or f"Upload {type(self).__name__}", **uploading)

    def load_base(self, device: str = "cpu", dtype: str = "float32", mirror: str | None = None) -> FrozenAutoencoder:
        """The VAE the field was trained for, from where the configuration says.

        Raises:
            OSError: it is not there, or out of reach. ValueError: what is there is another.
        """
        place = self._internal_dict["base_vae"] | {"dtype": dtype, "tile": None}
        base = load_autoencoder(validated(Vae, place, "the decoder's config.json"), device, mirror)
        check_vae(base.model, self._internal_dict)
        return base

    def attach(self, vae: ModelMixin, scale: int | None = None) -> Self:
        """This decoder on top of a pipeline's VAE, which it freezes; at its first scale where none is given.

        Raises:
            ValueError: it is not the VAE the field was trained for, it is being offloaded, or no such scale.
        """
        vae = vae.vae if isinstance(vae, FSRDecoder) else vae
        check_vae(vae, self._internal_dict)
        self.scale = self.field.config.scales[0] if scale is None else scale
        self.__dict__["_frozen"] = FrozenAutoencoder(vae)  # not a submodule: its weights are no part of this one's
        self._pipeline = None
        self.to(vae.device)
        for flag in ("use_tiling", "use_slicing"):
            setattr(self, flag, getattr(self, flag) or getattr(vae, flag, False))
        return self

    @property
    def vae(self) -> ModelMixin:
        """The VAE it is attached to."""
        return self._attached().model

    @property
    def scale(self) -> int:
        """How many times larger than the VAE's own images are."""
        return self._scale

    @scale.setter
    def scale(self, scale: int) -> None:
        if scale not in (known := list(self.field.config.scales)):
            raise ValueError(f"scale {scale} is not one this field was trained for; choose one of {known}")
        self._scale = scale

    @property
    def config(self) -> FrozenDict:
        """Its own configuration, and the VAE's entries with it; before it is attached, those of the VAE it is for."""
        of_vae = self._internal_dict["architecture"] if self._frozen is None else self.vae.config
        return FrozenDict(self._internal_dict | {key: of_vae[key] for key in of_vae if key[0] != "_"})

    @property
    def dtype(self) -> torch.dtype:
        """The VAE's once attached."""
        return super().dtype if self._frozen is None else self.vae.dtype

    def __getattr__(self, name: str) -> Any:
        """What is not its own is the VAE's: post_quant_conv, bn, ..."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in HOOKS or self.__dict__.get("_frozen") is None:
                raise
            return getattr(self.vae, name)

    to = nn.Module.to  # ModelMixin's warns of modules to keep in float32: `_apply` keeps the field so

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def moved(tensor: Tensor) -> Tensor:
            changed = fn(tensor)
            return changed if changed.dtype == tensor.dtype else tensor.to(changed.device)

        super()._apply(moved, recurse)
        self._pipeline = None  # its strips have weights of their own
        if self._frozen is not None:
            self._frozen._apply(fn, recurse)
        return self

    def enable_tiling(self, use_tiling: bool = True, rows: int | None = None, memory: int | str | None = None) -> None:
        """Decode in strips of `rows` output pixels, or such as fit `memory` (bytes, or "4GB"); they are exact.

        Encoding is in the VAE's own tiles, which are not exact.
        """
        limit = parse_memory(memory) if isinstance(memory, str) else memory
        self.use_tiling, self.tiling = use_tiling, Tiling(rows=rows, memory=limit, whole=False)

    def disable_tiling(self) -> None:
        """Decode in whatever way is fastest, and encode whole images."""
        self.use_tiling = False

    def enable_slicing(self) -> None:
        """Decode and encode the images of a batch one after the other."""
        self.use_slicing = True

    def disable_slicing(self) -> None:
        """Decode and encode batches at once."""
        self.use_slicing = False

    @apply_forward_hook
    def encode(self, *args: Any, **kwargs: Any) -> Any:
        """What the VAE encodes to, in tiles and slices where they are enabled."""
        for flag in ("use_tiling", "use_slicing"):
            if hasattr(self.vae, flag):
                setattr(self.vae, flag, getattr(self, flag))
            elif getattr(self, flag):
                logger.warning("%s cannot %s: it encodes whole batches", type(self.vae).__name__, flag)
        return self.vae.encode(*args, **kwargs)

    @apply_forward_hook
    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """Images (B, 3, scale factor h, scale factor w) in the VAE's range and dtype, not clamped.

        Args:
            z: latents (B, C, h, w) as the VAE itself decodes them. Where the field's patches do not fit, they are
                continued by reflection, and what comes of that is cut off. generator: nothing is drawn from it.

        Raises:
            ValueError: not attached, offloaded layer by layer, or a gradient is asked for.
        """
        images = self._rendered(z)
        return DecoderOutput(sample=images) if return_dict else (images,)

    def forward(self, z: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """`decode`."""
        return self.decode(z, return_dict)

    def _rendered(self, z: Tensor) -> Tensor:
        frozen = self._attached()
        if torch.is_grad_enabled() and z.requires_grad:
            raise ValueError("an FSRDecoder gives no gradients; decode under torch.no_grad()")
        if is_away(self.field) or is_away(frozen):
            raise ValueError("an FSRDecoder cannot be offloaded layer by layer; use enable_model_cpu_offload()")
        settings = (self.scale, self.tiling if self.use_tiling else Tiling())
        if self._pipeline is None or (self._pipeline.scale, self._pipeline.tiling) != settings:
            self._pipeline = ImagePipeline(frozen, self.field, *settings)
        latents = frozen.scaled(z.to(frozen.device).float())
        parts = [self._pipeline.decode(part) for part in latents.split(1 if self.use_slicing else len(latents))]
        return frozen.normalise(torch.cat(parts)).to(frozen.model.dtype)

    def _attached(self) -> FrozenAutoencoder:
        if self._frozen is None:
            raise ValueError("this FSRDecoder has no VAE yet; attach it to the pipeline's, or to load_base().model")
        return self._frozen
