"""The settings of a model in the metadata of its weights file, of our own format."""

import json
from collections.abc import Mapping

from wbcjax.models.settings import EfficientNetSettings, MaskRCNNSettings, from_dict
from wbcjax.settings.older_runs import upgrade_model
from wbcjax.settings.parts import Trust, Untrusted, as_values, check_trusted
from wbcjax.weights.dialects import Settings

TRAINED_WITH = "trained_with"  # the entry of the metadata
KINDS = {kind.__name__: kind for kind in (MaskRCNNSettings, EfficientNetSettings)}


def note_settings(settings: Settings) -> dict[str, str]:
    """The metadata from which `noted_settings` restores the settings."""
    return {TRAINED_WITH: json.dumps({"kind": type(settings).__name__, "settings": as_values(settings)})}


def noted_settings(metadata: Mapping[str, str], trust_parts: Trust = False) -> Settings:
    """The settings that the weights of a file were trained with.

    Raises ValueError when they are incomplete, Untrusted for parts from outside of wbcjax.
    """
    try:
        noted = json.loads(metadata[TRAINED_WITH])
        kind, settings = KINDS[noted["kind"]], upgrade_model(noted["settings"])
        check_trusted({"model": settings}, "the file", trust_parts)
        return from_dict(kind, settings, TRAINED_WITH)
    except Untrusted:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the file's note {TRAINED_WITH!r} is not whole ({error!r}); convert it anew") from error
