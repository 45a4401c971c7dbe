"""Findings as a table for people, and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fsr.doctor.finding import Finding
from fsr.doctor.look import healthy

COLOURS = {"ok": "green", "missing": "yellow", "broken": "red"}


def shown(findings: Sequence[Finding]) -> Group:
    """A line for each finding, section after section, and below what the default study lacks."""
    table = Table(show_lines=False, title="What FSR finds here")
    for heading, options in (("", {}), ("state", {}), ("found, or how to get it", {"overflow": "fold", "ratio": 1})):
        table.add_column(heading, **options)
    for section, group in groupby(findings, key=lambda finding: finding.section):
        table.add_section()
        table.add_row(Text(section, style="bold"))
        for finding in group:
            words = "; ".join(filter(None, (finding.detail, finding.remedy)))
            table.add_row(Text(f"  {finding.name}"), Text(finding.state, style=COLOURS[finding.state]), Text(words))
    return Group(table, Text(verdict(findings)))


def verdict(findings: Sequence[Finding]) -> str:
    """Whether the default study can run, in a line."""
    lacking = [finding.name for finding in findings if finding.needed and finding.state != "ok"]
    return f"The default study lacks: {', '.join(lacking)}." if lacking else "The default study can run."


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """{"healthy": whether the default study can run, "findings": one mapping each}."""
    return {"healthy": healthy(findings), "findings": [asdict(finding) for finding in findings]}
