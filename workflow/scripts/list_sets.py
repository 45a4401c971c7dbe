"""List the sets of each kind with the hashes of their manifests, which have those of their images."""

from job import start

from fsr.files import sha256_of_file, write_json

start(snakemake)
for kind in ("learning", "held_back"):
    write_json(snakemake.output[kind], {file: sha256_of_file(file) for file in snakemake.input[kind]})
