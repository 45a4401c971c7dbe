"""Batches of files: what is to be made, what stands already, and what came of each."""

from fsr.jobs.latents import decode_files, plan_latents
from fsr.jobs.planning import Job, plan_jobs
from fsr.jobs.records import Records
from fsr.jobs.run import Outcome, upscale_files
from fsr.jobs.watching import Bar, watched

__all__ = ["Bar", "Job", "Outcome", "Records", "decode_files", "plan_jobs", "plan_latents", "upscale_files", "watched"]
