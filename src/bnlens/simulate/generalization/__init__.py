"""Students trained on finite training sets, against which the learning curves of the theory are held.

The estimators are those of `bnlens.theory.generalization`: what predicts a curve also says what to simulate.
"""

from __future__ import annotations

from bnlens.simulate.generalization.curve import SimulatedCurve, simulate_learning_curve
from bnlens.simulate.generalization.fit import fit_student
from bnlens.simulate.generalization.sgd import train_students
from bnlens.simulate.generalization.training_set import Student, TrainingSet, draw_training_set

__all__ = [
    "SimulatedCurve",
    "Student",
    "TrainingSet",
    "draw_training_set",
    "fit_student",
    "simulate_learning_curve",
    "train_students",
]
