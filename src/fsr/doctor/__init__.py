"""What of all that FSR can use is at hand here, and how to get the rest. Nothing is fetched while it looks."""

from fsr.doctor.finding import Finding
from fsr.doctor.look import examine, healthy
from fsr.doctor.table import as_json, shown

__all__ = ["Finding", "as_json", "examine", "healthy", "shown"]
