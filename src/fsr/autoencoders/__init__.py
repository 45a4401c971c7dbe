"""The frozen autoencoder and its split decoder."""

from fsr.autoencoders.frozen import FrozenAutoencoder, load_autoencoder, weights_sha256
from fsr.autoencoders.split import CUTS, SplitDecoder, Stage

__all__ = ["CUTS", "FrozenAutoencoder", "SplitDecoder", "Stage", "load_autoencoder", "weights_sha256"]
