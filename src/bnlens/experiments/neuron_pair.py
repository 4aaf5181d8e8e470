"""The gap of two neurons of one BN layer that share an output, by simulation."""

from __future__ import annotations

from typing import Any

__all__ = ["simulate_pair_gap"]

_CHUNK = 4096  # batches at a time


def simulate_pair_gap(
    *, correlation: float, signs: list[float], batch_size: int, batches: int, seed: int
) -> dict[str, Any]:
    """Simulate the gap of y = sum_i s_i (x_i - m_i)/S_i over y = sum_i s_i x_i, which is the teacher of a squared loss.

    The x_i are Gaussian, of unit variance and this correlation; the loss with population statistics is zero.

    Returns:
        By noise, ``"mean"`` (S_i = 1), ``"std"`` (m_i = 0) and ``"both"``: ``gap`` and ``stderr``, nats per sample, and under
        ``"alone"`` the same for the two neurons apart, each with a loss of its own, summed.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    found: dict[str, list[Any]] = {}
    for first in range(0, batches, _CHUNK):
        x = generator.standard_normal((2, min(_CHUNK, batches - first), batch_size))
        x[1] = correlation * x[0] + np.sqrt(1 - correlation**2) * x[1]
        mean, std = x.mean(axis=2, keepdims=True), x.std(axis=2, keepdims=True)
        changes = {"mean": -mean * np.ones_like(x), "std": x / std - x, "both": (x - mean) / std - x}
        for noise, change in changes.items():
            moved = np.tensordot(np.array(signs), change, axes=1)
            found.setdefault(noise, []).append((moved**2).mean(axis=1) / 2)
            found.setdefault(f"{noise} alone", []).append((change**2).sum(axis=0).mean(axis=1) / 2)
    result: dict[str, Any] = {}
    for name, parts in found.items():
        losses = np.concatenate(parts)
        result[name] = {"gap": float(losses.mean()), "stderr": float(losses.std(ddof=1) / np.sqrt(len(losses)))}
    return result
