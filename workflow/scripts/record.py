"""What a job's results are made with, written beside them."""

from pathlib import Path

from fsr.provenance import write_provenance


def record(snakemake):
    """Write the provenance where the rule names it; where the job fails, Snakemake deletes it with the results."""
    outputs = dict(snakemake.output.items())
    if "provenance" in outputs:
        write_provenance(
            outputs.pop("provenance"),
            rule=snakemake.rule,
            outputs=_files(outputs),
            params=snakemake.config,
            wildcards=dict(snakemake.wildcards.items()),
            threads=snakemake.threads,
            inputs=_files(dict(snakemake.input.items())),
            repository=Path(__file__).resolve().parents[2],
        )


def _files(named):
    return [file for item in named.values() for file in ([item] if isinstance(item, str) else item)]
