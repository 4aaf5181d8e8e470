"""The cases as a fixture."""

import dataclasses

import pytest
from measure_cases import CASES, Case, seeded


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return dataclasses.replace(chosen, model=seeded(chosen.model))
