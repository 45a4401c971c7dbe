"""The `fsr` command: what its commands are added to, and how it ends."""

import logging
import sys

import typer

app = typer.Typer(help="One-step rectified flow in a frozen decoder's feature space.", no_args_is_help=True)


def main() -> None:
    """Entry point: expected errors become one line on stderr and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        app()
    except (OSError, ValueError, FloatingPointError) as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
