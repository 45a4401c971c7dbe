"""List the sets that are learned from, each with the hash of its manifest, which has those of its images."""

from job import start

from fsr.files import sha256_of_file, write_json

start(snakemake)
write_json(snakemake.output.learning, {file: sha256_of_file(file) for file in snakemake.input.manifests})
