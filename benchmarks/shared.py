"""What more than one benchmark needs."""

from pathlib import Path

import psutil
from diffusers import AutoencoderKL


def random_flux() -> AutoencoderKL:
    """FLUX.1's autoencoder in its real architecture, with random weights of the global seed."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=16,
        norm_num_groups=32,
        sample_size=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


class Peak:
    """The largest memory of this process since this was made, as Linux counts it.

    The mark is set back first. What getrusage reports instead cannot be, and begins with that of the parent process.

    Raises:
        OSError: not Linux, or a kernel that keeps no such mark.
    """

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError as error:
            raise OSError("no mark of memory that can be set back; measure on Linux, or give --no-peaks") from error
        self.loaded = psutil.Process().memory_info().rss

    def reached(self) -> int:
        """Bytes."""
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
