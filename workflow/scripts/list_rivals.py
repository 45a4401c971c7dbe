"""List what was trained beside the field."""

from job import start

from fsr.files import write_json

start(snakemake)
write_json(snakemake.output.models, snakemake.params.models)
