"""Say what the crops are made by."""

from job import start

from fsr.files import write_json

start(snakemake)
write_json(snakemake.output.definition, dict(snakemake.params.items()))
