"""Where a trained model lies: a path, `starter` (in the package), or `hf://OWNER/NAME` (on Hugging Face's hub)."""

import importlib
from functools import cache
from pathlib import Path

from wbcjax.system import run_files

STARTER, HUB = "starter", "hf://"
_PACKAGE = Path(__file__).parents[1]


def located(place: str | Path) -> Path:
    """The path of a model named by `place`; a folder of the hub's is fetched, or taken from where it was kept.

    A folder called starter is given as `./starter`, or as a Path. Raises ValueError for a name that is none of the
    hub's, and, with the remedy, where huggingface-hub is missing; OSError when the hub cannot be reached or has no such
    model.
    """
    if place == STARTER:  # as text: of `./starter` a Path keeps the name alone
        return _PACKAGE / STARTER
    if isinstance(place, str) and place.startswith(HUB):
        return _fetched(place)
    return Path(place)


@cache
def _fetched(place: str) -> Path:
    """A folder of the hub's with the files of a packed run and no others: nothing in them is executed."""
    name, _, revision = place.removeprefix(HUB).partition("@")
    if len(parts := name.split("/")) != 2 or not all(parts):
        raise ValueError(f"{place!r} is no model of the hub: give {HUB}OWNER/NAME, or {HUB}OWNER/NAME@REVISION")
    try:
        hub = importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise ValueError(f"{place!r} needs huggingface-hub: pip install 'wbcjax[hub]'") from error
    try:
        return Path(hub.snapshot_download(name, revision=revision or None, allow_patterns=list(run_files.PACKED)))
    except (OSError, ValueError) as error:
        raise OSError(f"{place!r} cannot be fetched: {' '.join(str(error).split())[:300]}") from error
