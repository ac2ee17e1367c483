"""JSON Schema of the manifest, for editors that complete and check YAML as it is typed."""

from typing import Any

from pydantic import TypeAdapter

from xlift.registry.manifest.sections import Manifest, TableManifest


def schema() -> dict[str, Any]:
    """The norm of the manifest's form; names and conditions are checked by `manifest.resolve` beyond it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "xlift study",
        **TypeAdapter(Manifest | TableManifest).json_schema(by_alias=True),
    }
