"""Tables of scores that were computed elsewhere, as a store keeps them: whole, one Parquet file each."""

import json
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xlift.registry.kept import FORM, NotRead, NotUnderstood

SCORES = pa.schema(  # a row a stage x language x metric
    [
        ("stage", pa.string()),
        ("language", pa.string()),
        ("metric", pa.string()),
        ("score", pa.float64()),
        ("is_primary", pa.bool_()),
        ("items", pa.int64()),
        ("chance", pa.float64()),
        ("se", pa.float64()),
        ("data", pa.string()),
        ("gain_se", pa.float64()),
        ("dev_score", pa.float64()),
    ]
)
SCHEMA = pa.schema(
    [
        *SCORES,
        *((name, pa.string()) for name in ("model", "family", "intermediate", "intermediate_language", "variant", "target")),
        *((name, pa.int64()) for name in ("seed", "parameters", "non_embedding", "line")),
        *((name, pa.string()) for name in ("source", "protocol", "origin", "continues")),
    ]
)
NEWER = ("gain_se", "dev_score")  # columns that tables kept before had not
KEY = b"xlift"  # in the metadata: {"form": 1}


def encoded(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """The rows of a table, by column, as the file that a store keeps; its pages have checksums."""
    table = pa.table([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)
    made = BytesIO()
    known = table.replace_schema_metadata({KEY: json.dumps({"form": FORM})})
    pq.write_table(known, made, compression="zstd", write_page_checksum=True)
    return made.getvalue()


def read(path: Path) -> pa.Table | None:
    """The rows that a store keeps of a table; None, with a warning, where they are damaged or not there.

    Raises:
        NotUnderstood: the file is whole, and another version's.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        form = json.loads((table.schema.metadata or {}).get(KEY, b"{}")).get("form")
    except (OSError, pa.ArrowException, ValueError, AttributeError) as error:
        what = "is not there" if not path.exists() else f"is damaged ({str(error).splitlines()[0]})"
        warnings.warn(f"{path} {what}: import the table again", NotRead, stacklevel=2)
        return None
    for name in NEWER:  # of a table that was kept before there was such a column
        if name not in table.schema.names:
            table = table.append_column(name, pa.nulls(len(table), pa.float64()))
    if form != FORM or set(SCHEMA.names) - set(table.schema.names):
        raise NotUnderstood(f"{path} is of form {form}, and this version reads form {FORM}; use the version that wrote it")
    return table
