"""The description that clients are made from: kept in the repository, so that a change of the API is seen as one."""

import json
import os
from pathlib import Path
from typing import Any

from tests.web.api_lab import Api

KEPT = Path(__file__).resolve().parents[2] / "web" / "openapi.json"
REWRITE = "IKEGATE_WRITE_OPENAPI"


def _text(description: dict[str, Any]) -> str:
    return json.dumps(description, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def test_the_description_is_the_one_that_is_kept(api: Api) -> None:
    described = _text(api.app.openapi())
    if os.environ.get(REWRITE):
        KEPT.write_text(described)
    assert KEPT.read_text() == described, f"the API changed: if that is meant, run this test with {REWRITE}=1"


async def test_it_is_served(api: Api) -> None:
    async with api.client() as nobody:
        assert (await nobody.get("/api/v1/openapi.json")).json() == json.loads(KEPT.read_text())


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(_references(value) for value in node.values()))
    return set().union(*(_references(value) for value in node)) if isinstance(node, list) else set()


def test_every_reference_leads_somewhere(api: Api) -> None:
    description = api.app.openapi()
    known = {f"#/components/schemas/{name}" for name in description["components"]["schemas"]}
    assert _references(description) <= known


def test_every_operation_has_one_name_and_tells_its_problems(api: Api) -> None:
    names: list[str] = []
    for path, methods in api.app.openapi()["paths"].items():
        for operation in methods.values():
            names.append(operation["operationId"])
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path.startswith("/api/"):
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)
    assert len(names) == len(set(names))


def test_what_is_named_in_a_path_may_be_missing(api: Api) -> None:
    created = {"put"}  # makes what is not there
    for path, methods in api.app.openapi()["paths"].items():
        for method, operation in methods.items():
            if "{" in path and method not in created:
                assert "404" in operation["responses"], (method, path)


def test_what_a_body_and_a_precondition_can_be_refused_for_is_told(api: Api) -> None:
    for path, methods in api.app.openapi()["paths"].items():
        for method, operation in methods.items():
            told = operation["responses"].keys()
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                assert {"400", "413", "415", "422"} <= told, (method, path)
            if "if-match" in {one["name"].lower() for one in operation.get("parameters", [])}:
                assert "412" in told, (method, path)


def test_secrets_are_described_as_going_in_only(api: Api) -> None:
    schemas = api.app.openapi()["components"]["schemas"]
    for name, schema in schemas.items():
        for field, described in schema.get("properties", {}).items():
            if field in ("secret", "password", "new_password") or (field == "token" and "Body" in name):
                assert "writeOnly" in json.dumps(described), (name, field)
    assert "secret" not in schemas["PskAnswer"]["properties"]
