"""Gamma and beta of each unit in theory sheet A.4."""

POINTS = {
    "linear": (0.7, 0.2),
    "logistic": (1.5, 0.3),
    "relu": (0.7, 0.0),
    "softplus_glm": (1.2, 0.1),
    "poisson": (1.2, 0.5),
}
