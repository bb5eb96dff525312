"""The OpenAPI document of the routes that are served, and a page that shows it without a script."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import msgspec

from muxer.interfaces import Operation, Route
from muxer.shapes import Error

Document = dict[str, Any]
_PARAMETER = re.compile(r"{(\w+)(?::[^}]*)?}")
_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "code,pre{font-family:ui-monospace,monospace;font-size:.9em}pre{background:#f4f4f4;padding:.8rem;overflow:auto}"
    "summary{cursor:pointer;padding:.3rem 0}.method{display:inline-block;min-width:4.5rem;font-weight:700}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_HEADERS: Mapping[str, str] = {
    # B74. The page has no script, so none may run; its one style is named by its digest.
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def document(routes: Sequence[Route], version: str, *, open_scopes: frozenset[str]) -> Document:
    """The document of these routes. `open_scopes` are those that need no key here."""
    types = {Error: None} | {one: None for route in routes for one in _types(route.operation)}
    names = [one for one in types if one is not str]
    shapes, components = msgspec.json.schema_components(
        names, schema_hook=_any, ref_template="#/components/schemas/{name}"
    )
    schemas = dict(zip(names, shapes, strict=True))
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        described = _operation(route, schemas, is_open=route.scope in open_scopes)
        paths.setdefault(_PARAMETER.sub(r"{\1}", route.path), {})[route.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ModelMuxer",
            "version": version,
            "description": "Paths that begin with /v1 are served without it as well.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _types(operation: Operation) -> list[type]:
    return [one for one in (operation.body, operation.answer, operation.error) if one is not None]


def _any(kind: type) -> dict[str, object]:
    """The schema of what msgspec has none for: JSON that is passed on as it is. (An empty one is none to msgspec.)"""
    return {"description": "any JSON"}


def _operation(route: Route, schemas: Mapping[Any, object], *, is_open: bool) -> Document:
    operation = route.operation
    described: Document = {
        "summary": operation.summary or f"{route.method} {route.path}",
        "x-role": route.scope,
        "security": [] if is_open else [{"bearer": []}, {"key": []}],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(route.path)
        ],
        "responses": _responses(operation, schemas),
    }
    if operation.body is not None:
        body = {"application/json": {"schema": schemas[operation.body]}}
        described["requestBody"] = {"required": True, "content": body}
    return described


def _responses(operation: Operation, schemas: Mapping[Any, object]) -> Document:
    answer: object = {} if operation.answer is None else schemas.get(operation.answer, {"type": "string"})
    content: dict[str, object] = {operation.media_type: {"schema": answer}}
    if operation.streams:
        content["text/event-stream"] = {}
    responses: Document = {str(operation.status): {"description": "Success", "content": content}}
    for status in operation.also:
        responses[str(status)] = {"description": "The same, when it is not so", "content": content}
    error = {"application/json": {"schema": schemas[operation.error or Error]}}
    return responses | {"default": {"description": "An error", "content": error}}


def page(described: Document) -> str:
    """The document as HTML: everything from it stands as text (B74)."""
    info = described["info"]
    schemas = described["components"]["schemas"]
    sections = [
        *_shown_operations(described["paths"]),
        "<h2>Types</h2>",
        *(_details(f"<code>{escape(name)}</code>", [schema]) for name, schema in sorted(schemas.items())),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])} The same for programs: <a href='openapi.json'>openapi.json</a>.</p>"
        f"{''.join(sections)}</body></html>"
    )


def _shown_operations(paths: Mapping[str, Mapping[str, Document]]) -> Iterable[str]:
    for path, operations in paths.items():
        for method, operation in operations.items():
            role = f"needs a key of the role {operation['x-role']}" if operation["security"] else "needs no key"
            head = f"<span class='method'>{escape(method.upper())}</span> <code>{escape(path)}</code> "
            shown = [operation.get("requestBody", {}), operation["responses"]]
            yield _details(f"{head}{escape(operation['summary'])} <small>({escape(role)})</small>", shown)


def _details(summary: str, values: Sequence[object]) -> str:
    """A summary of ready HTML that unfolds to JSON."""
    blocks = [msgspec.json.format(msgspec.json.encode(value)).decode() for value in values if value]
    return f"<details><summary>{summary}</summary>{''.join(f'<pre>{escape(one)}</pre>' for one in blocks)}</details>"
