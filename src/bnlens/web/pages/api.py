"""The API's documentation, from its own schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bnlens.web.site import Page, Site

__all__ = ["PAGE"]

_SUMMARY = "The same numbers for programs: JSON, CSV and an OpenAPI schema."

_ASK_FOR_MORE = ("/api/labs/network", "/api/runs/")  # a report, and a run that was started


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/api/docs")
    def docs(request: Request) -> Response:
        endpoints = list(_endpoints(request.app.openapi()))
        lead = "Every lab as JSON and CSV. All parameters have defaults but the name of a report."
        return site.render(request, "api.html", title="The API", description=lead, endpoints=endpoints)

    return routes


def _endpoints(schema: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield {
                "path": path,
                "method": method.upper(),
                "summary": operation["summary"],
                "description": operation.get("description", ""),
                "parameters": [_parameter(parameter) for parameter in operation.get("parameters", [])],
                "body": list(_body(schema, operation)),
                "openable": method == "get" and "{" not in path and not path.startswith(_ASK_FOR_MORE),
            }


def _body(schema: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        model = schema["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        for name, field in model["properties"].items():
            yield _parameter({"name": name, "schema": field}) | {"Meaning": field.get("description", "")}


def _parameter(parameter: Mapping[str, Any]) -> dict[str, Any]:
    schema = parameter["schema"]
    kind = next(kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null")
    if "enum" in kind:
        allowed = ", ".join(map(str, kind["enum"]))
    elif "minimum" in kind:
        allowed = f"{kind['type']}, {kind['minimum']:,g} to {kind['maximum']:,g}"
    else:
        longest = f", at most {kind['maxLength']} characters" if "maxLength" in kind else ""
        allowed = f"{kind.get('type', 'any')}{longest}"
    return {
        "Name": parameter["name"],
        "Values": allowed,
        "Default": "" if schema.get("default") is None else str(schema["default"]),
        "Meaning": schema.get("title", "") if schema.get("title") != parameter["name"] else "",
    }


PAGE = Page(
    id="api", title="API", path="/api/docs", summary=_SUMMARY, routes=_routes, export=lambda site: ["/api/openapi.json"]
)
