"""One linear unit: the exact gap, its first-order law, the paper's two terms, and a simulation.

Run: python examples/one_unit.py
"""

from bnlens.simulate import simulate_gap
from bnlens.theory import gap_law, linear_gap, mean_std

GAMMA, TEACHER = 0.7, 0.8  # away from the optimum gamma = 0.8, where the paper's value is off

law = gap_law("linear", "gaussian", gamma=GAMMA)
print("   M     exact  own-batch law  two-term  simulated")
for size in (8, 32, 128):
    exact = linear_gap(GAMMA, TEACHER, mean_std(size))
    simulated = simulate_gap("linear", "gaussian", gamma=GAMMA, batch_size=size, samples=400_000, seed=1)
    predicted = f"{exact:9.5f}  {law.gap(size):13.5f}  {law.two_term / size:8.5f}"
    print(f"{size:4d} {predicted}  {simulated.gap:.5f} ± {simulated.stderr:.5f}")
