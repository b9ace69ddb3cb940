"""The temperatures of a run's scores: calibration.json, fitted on val, by the step of the weights that they are for.

{"1190": {"plain": {"temperature": 1.31, "fitted_on": "812 detections of val"}, "tta": {...}}}
"""

import json
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

from wbcjax.runs.folder import load_facts
from wbcjax.system import run_files
from wbcjax.system.files import write_atomically

log = logging.getLogger(__name__)

CALIBRATION = "calibration"  # its key among the facts of an exported model, which has those of its weights alone
PLAIN, TTA = "plain", "tta"  # the ways in which a run is asked, whose scores differ


class Temperatures(NamedTuple):
    """By which scores are calibrated, see `wbcjax.evaluate.temperature`; 1 where none was fitted."""

    plain: float = 1.0
    tta: float = 1.0  # of the views of test-time augmentation, joined


def temperatures(place: str | Path, step: int | None) -> Temperatures:
    """The temperatures for the weights of this step of a run, or for those of an exported model.

    Raises ValueError, naming the file, for a broken one.
    """
    path = Path(place) if step is None else Path(place) / run_files.CALIBRATION
    fitted = load_facts(place).get(CALIBRATION, {}) if step is None else fitted_for(place, step)
    try:
        found = Temperatures(**{way: float(of["temperature"]) for way, of in fitted.items()})
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: no temperature of {CALIBRATION} ({error!r}); {_REMEDY}") from error
    if wrong := [temperature for temperature in found if not 0 < temperature < math.inf]:
        raise ValueError(f"{path}: the temperature {wrong[0]} is none, which is a number above 0; {_REMEDY}")
    return found


def fitted_for(workdir: str | Path, step: int) -> dict[str, Any]:
    """What was noted for the weights of this step of a run; {}: nothing. Raises ValueError for a broken file."""
    noted = _noted(workdir)
    if noted and str(step) not in noted:
        log.warning(
            "%s is for the weights of step %s, not of step %d: scores are not calibrated; `--calibrate` would",
            Path(workdir) / run_files.CALIBRATION,
            ", ".join(noted),
            step,
        )
    return noted.get(str(step), {})


def note_temperature(workdir: Path, step: int, way: str, temperature: float, fitted_on: str) -> None:
    """Keep a temperature for the weights of this step, asked in this way; `fitted_on` is such as "80 crops of val"."""
    noted = _noted(workdir)
    noted.setdefault(str(step), {})[way] = {"temperature": temperature, "fitted_on": fitted_on}
    write_atomically(workdir / run_files.CALIBRATION, (json.dumps(noted, indent=2) + "\n").encode())


_REMEDY = "fit it anew by `wbcjax evaluate --calibrate`, after deleting the file"


def _noted(workdir: str | Path) -> dict[str, Any]:
    path = Path(workdir) / run_files.CALIBRATION
    if not path.is_file():
        return {}
    try:
        return {step: dict(ways) for step, ways in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: broken ({error!r}); {_REMEDY}") from error
