"""JSON schemas of the files that people write and programs read, as editors and validators take them."""

from __future__ import annotations

from typing import Any

import msgspec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(name: str, kind: type, title: str) -> dict[str, Any]:
    """The schema of a msgspec type, named so that others can refer to it."""
    made = msgspec.json.schema(kind)
    return {"$schema": DIALECT, "$id": f"urn:vllm-simfleet:schema:{name}", "title": title, **made}
