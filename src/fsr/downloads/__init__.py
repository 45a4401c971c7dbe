"""Files from the network, whole and checked or not there: over HTTP(S), or from the Hugging Face hub."""

from fsr.downloads.http import download
from fsr.downloads.hub import download_from_hub

__all__ = ["download", "download_from_hub"]
