"""The engine: jobs, their keys, the results file, and the processes or the cluster that compute them.

It knows no claim and no experiment: it runs functions from JSON data to JSON data, stores what they return, and computes
nothing twice.
"""

from bnlens.runs._pool import available_cores as available_cores
from bnlens.runs._table import records_frame as records_frame
from bnlens.runs.earlier import earlier_names as earlier_names
from bnlens.runs.earlier import is_current as is_current
from bnlens.runs.engine import FILE as FILE
from bnlens.runs.engine import Done as Done
from bnlens.runs.engine import Observer as Observer
from bnlens.runs.engine import compute as compute
from bnlens.runs.job import Job as Job
from bnlens.runs.key import code_version as code_version
from bnlens.runs.store import Record as Record
from bnlens.runs.store import read_records as read_records
from bnlens.runs.store import remove_records as remove_records

__all__ = [
    "FILE",
    "Done",
    "Job",
    "Observer",
    "Record",
    "available_cores",
    "code_version",
    "compute",
    "earlier_names",
    "is_current",
    "read_records",
    "records_frame",
    "remove_records",
]
