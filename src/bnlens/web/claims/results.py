"""The results in the served folder: the newest run of each claim, judged once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from anyio import CapacityLimiter, to_thread

from bnlens.claims import Claim, StoredRun, stored_run
from bnlens.errors import BnlensError
from bnlens.runs import read_records
from bnlens.web.library import file_stamp

__all__ = ["Register", "Results", "Snapshot"]

Register = Callable[[], Mapping[str, Claim]]
_FILES = ("runs.sqlite", "runs.sqlite-wal")  # new results stand in the second until the run ends


@dataclass(frozen=True)
class Snapshot:
    """All claims by id with the newest runs of those of which something is stored, at one moment.

    ``problem`` says why the results file cannot be read, if so.
    """

    claims: Mapping[str, Claim]
    runs: Mapping[str, StoredRun] = field(default_factory=dict)
    problem: str = ""


class Results:
    """The results file of a folder, read and judged again only when it has changed; ``register`` returns the claims."""

    def __init__(self, folder: Path, register: Register) -> None:
        self.register = register
        self._folder = folder
        self._lock = threading.Lock()
        self._stamp: Hashable = None
        self._snapshot: Snapshot | None = None
        self._thread = CapacityLimiter(1)

    async def get(self) -> Snapshot:
        """Return the present state. Judging takes up to seconds and happens in one thread; other requests go on."""
        if self._snapshot is not None and self._stamp == self._stamp_now():
            return self._snapshot
        return await to_thread.run_sync(self.read, limiter=self._thread)

    def read(self) -> Snapshot:
        """As `get`, in the thread of the caller."""
        with self._lock:
            stamp = self._stamp_now()
            if self._snapshot is None or stamp != self._stamp:
                self._snapshot = self._read()
                self._stamp = stamp
            return self._snapshot

    def _stamp_now(self) -> Hashable:
        return tuple(file_stamp(self._folder / name) for name in _FILES)

    def _read(self) -> Snapshot:
        claims = MappingProxyType(dict(self.register()))
        known = self._snapshot.runs if self._snapshot else {}
        try:
            records = read_records(self._folder / _FILES[0])
        except BnlensError as error:
            return Snapshot(claims, problem=str(error))
        found = {claim.id: stored_run(claim, records, known.get(claim.id)) for claim in claims.values()}
        return Snapshot(claims, MappingProxyType({name: run for name, run in found.items() if run is not None}))
