"""The frozen autoencoder and its split decoder."""

from fsr.autoencoders.frozen import FrozenAutoencoder, weights_sha256
from fsr.autoencoders.loading import load_autoencoder
from fsr.autoencoders.split import CUTS, Cut, SplitDecoder, Stage

__all__ = ["CUTS", "Cut", "FrozenAutoencoder", "SplitDecoder", "Stage", "load_autoencoder", "weights_sha256"]
