"""The chapters of the report: each makes sheets of one kind of numbers, and the frame its CSV is written of."""
