"""Image files with all they carry: colour, transparency, depth, profile, resolution, EXIF."""

from fsr.formats.picture import Encoding, Picture
from fsr.formats.reading import UnsupportedImageError, read_picture
from fsr.formats.writing import FORMATS, write_picture

__all__ = ["FORMATS", "Encoding", "Picture", "UnsupportedImageError", "read_picture", "write_picture"]
