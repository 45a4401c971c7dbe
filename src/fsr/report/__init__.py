"""Tables, figures and the page of one experiment."""

from fsr.report.build import build_report
from fsr.report.inputs import ReportInputs

__all__ = ["ReportInputs", "build_report"]
