"""Matrices as tables: ``{"a=1 b=2": [1.0, None]}``, series in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aggregator.logql.vector.matrix import Matrix

if TYPE_CHECKING:
    from aggregator.logql.vector.matrix import Labels

Rows = list[tuple[str, list[float | None]]]


def labels(text: str) -> Labels:
    return tuple(sorted((name, value) for name, _, value in (part.partition("=") for part in text.split())))


def matrix(rows: Rows, steps: int = 1) -> Matrix:
    values = [[0.0 if value is None else value for value in row] for _, row in rows]
    present = [[value is not None for value in row] for _, row in rows]
    steps = len(rows[0][1]) if rows else steps
    return Matrix(
        np.arange(steps, dtype=np.int64),
        tuple(labels(text) for text, _ in rows),
        np.array(values, np.float64).reshape(len(rows), steps),
        np.array(present, np.bool_).reshape(len(rows), steps),
    )


def table(found: Matrix) -> Rows:
    return [
        (
            " ".join(f"{name}={value}" for name, value in own),
            [value if there else None for value, there in zip(values, present, strict=True)],
        )
        for own, values, present in zip(found.labels, found.values.tolist(), found.present.tolist(), strict=True)
    ]
