"""Findings as a table for people, and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fsr.doctor.finding import Finding
from fsr.doctor.look import healthy, lacking

COLOURS = {"ok": "green", "missing": "yellow", "broken": "red"}


def shown(findings: Sequence[Finding]) -> Group:
    """A line for each finding, section after section, and below what can be done here."""
    table = Table(show_lines=False, title="What FSR finds here")
    for heading, options in (("", {}), ("state", {"no_wrap": True}), ("found, or how to get it", {"ratio": 1})):
        table.add_column(heading, overflow="fold", **options)
    for section, group in groupby(findings, key=lambda finding: finding.section):
        table.add_section()
        table.add_row(Text(section, style="bold"))
        for finding in group:
            words = "; ".join(filter(None, (finding.detail, finding.remedy)))
            table.add_row(Text(f"  {finding.name}"), Text(finding.state, style=COLOURS[finding.state]), Text(words))
    return Group(table, Text(verdict(findings)))


def verdict(findings: Sequence[Finding]) -> str:
    """What can be done here, in a line: enlarge images, and run the study that is here, if one is."""
    use, study = lacking(findings, "use"), lacking(findings, "use", "study")
    said = f"To enlarge images, this lacks: {', '.join(use)}." if use else "Images can be enlarged here."
    if not any(finding.needed == "study" for finding in findings):
        return f"{said} There is no study here: no params.yaml."
    return f"{said} " + (f"The default study lacks: {', '.join(study)}." if study else "The default study can run.")


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """{"healthy": as `healthy` says, "findings": one mapping each}."""
    return {"healthy": healthy(findings), "findings": [asdict(finding) for finding in findings]}
