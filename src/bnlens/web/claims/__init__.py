"""Findings and claims with their newest runs, and the runs that a reader starts."""
