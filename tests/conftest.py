"""What all tests share: one thread per process, repeatable property tests, and a pool of two ranks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers

if TYPE_CHECKING:
    from gloo_pool import GlooPool

# Before torch is imported: the workers of pytest-xdist share the cores already, and so do the ranks they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The width and the colours of a terminal decide no test.
for _name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(_name, None)
os.environ["TERM"] = "xterm"

# A shell that starts the tests in the background has them ignore Ctrl-C; the processes that they start listen again.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every run, and neither a deadline nor a check of speed: how fast the machine is decides no test.
hypothesis.settings.register_profile(
    "bnlens",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    # on a GPU a layer's pass takes the launch of its kernels, which for small inputs is long
    max_examples=20 if "BNLENS_TEST_DEVICE" in os.environ else 100,
)
hypothesis.settings.load_profile("bnlens")
# It would also draw from the constants of all modules that are loaded by then: examples that depend on the tests before.
if hasattr(providers, "_get_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants


@pytest.fixture(autouse=True)
def _device(request: pytest.FixtureRequest) -> Iterator[None]:
    """With ``BNLENS_TEST_DEVICE=cuda`` the tests of layers and conversion make their tensors there."""
    if "BNLENS_TEST_DEVICE" not in os.environ:
        yield
        return
    from on_device import on_device

    with on_device(request.path.stem, request.path.parent.name):
        yield


@pytest.fixture(scope="session")
def gloo_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GlooPool]:
    """Two gloo ranks, started once per session: ``gloo_pool.run(function, [argument of rank 0, of rank 1])``."""
    from gloo_pool import GlooPool

    pool = GlooPool(tmp_path_factory.mktemp("gloo"))
    yield pool
    pool.close()
