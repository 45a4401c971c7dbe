"""Put the shares of one test set together."""

from pathlib import Path

from job import start

from fsr.benchmark import RowFiles, join_rows

params, given = start(snakemake), snakemake.input
shards = zip(given.cells, given.pictures, given.features, strict=True)
join_rows(
    params,
    [RowFiles(*map(Path, files)) for files in shards],
    RowFiles(*(Path(snakemake.output[name]) for name in ("table", "pictures", "features"))),
    paired=not snakemake.wildcards.mode,
)
