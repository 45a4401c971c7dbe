"""Tables, figures and the page of one experiment."""

from fsr.report.build import ReportInputs, build_report

__all__ = ["ReportInputs", "build_report"]
