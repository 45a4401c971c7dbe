"""Measuring every row: paired benchmarks, base preservation, distributions, run times."""

from fsr.benchmark.cells import Cell
from fsr.benchmark.rows import RowFiles, benchmark_rows, join_rows

__all__ = ["Cell", "RowFiles", "benchmark_rows", "join_rows"]
