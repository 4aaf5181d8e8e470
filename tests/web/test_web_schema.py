"""The API against its own OpenAPI schema: requests that fit it and requests that do not, none of which may end in a fault."""

from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.specs.openapi import checks

from bnlens.web import create_app
from bnlens.web.slow import Limits
from web.fake_claims import PATIENCE, register

_CONFORMANCE = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
_CHECKS = [schemathesis.checks.not_a_server_error, *_CONFORMANCE]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_ends_in_a_fault(tmp_path: Path, mode: GenerationMode) -> None:
    app = create_app(tmp_path, names=["testserver"], register=register, limits=Limits(seconds=PATIENCE))
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 20
    assert {operation.method for operation in operations} == {"get"}  # it reads only
    for operation in operations:
        if mode is GenerationMode.POSITIVE or any(operation.iter_parameters()) or operation.body:
            _ask(operation, mode)


def _ask(operation: APIOperation, mode: GenerationMode) -> None:
    # Bounded in examples, not in time: the client has no timeout, and a failure is reported as it is found, not shrunk.
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=12, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    def ask(case: Case) -> None:
        # Simulations take minutes at some values of the knobs; test_web_labs asks for them.
        if case.query and case.query.get("simulate") == "yes":
            case.query["simulate"] = "no"
        case.call_and_validate(checks=_CHECKS, timeout=None)

    ask()


def test_a_fault_would_be_found() -> None:
    app = FastAPI()

    @app.get("/broken")
    def broken(number: int) -> int:
        return 1 // (number - number)

    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    case = schema["/broken"]["GET"].Case(query={"number": 1})
    with pytest.raises(ZeroDivisionError, match="division"):
        case.call_and_validate(checks=_CHECKS)
