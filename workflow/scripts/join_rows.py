"""Put the shards of one test set's rows together."""

from pathlib import Path

from job import start

from fsr.benchmark import RowFiles, join_rows

params = start(snakemake)
shards = zip(snakemake.input.cells, snakemake.input.pictures, strict=True)
join_rows(
    params,
    [RowFiles(*map(Path, files)) for files in shards],
    Path(snakemake.output.table),
    Path(snakemake.output.pictures),
)
