"""The log of a run's training, read back."""

import json
from pathlib import Path
from typing import Any

from wbcjax.system.run_files import METRICS


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a run's metrics.jsonl, without those of work that was lost and done again.

    A line that a kill cut short is no record. Raises OSError when the file cannot be read, ValueError naming it when
    it holds no record at all.
    """
    records: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        while records and records[-1]["step"] > record["step"]:
            records.pop()
        records.append(record)
    if not records:
        raise ValueError(f"{path}: no record of a training run in it; is it the {METRICS} of a run?")
    return records
