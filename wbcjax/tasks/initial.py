"""The initial weights of a run of our own tasks, by its settings."""

from wbcjax.runs.initial_weights import InitialWeights
from wbcjax.settings.parts import as_values, outside
from wbcjax.tasks.settings import ClassificationConfig, DetectionConfig


def initial_weights(settings: DetectionConfig | ClassificationConfig) -> InitialWeights:
    """The weights that `config.init_from` names. Parts from outside of wbcjax that this run uses too are trusted."""
    phases = settings.train.phases
    return InitialWeights(
        place=settings.init_from,
        parts=settings.init_parts,
        trust_parts=settings.init_trust_parts or tuple(outside(as_values(settings)).values()),
        classes=settings.dataset.classes,
        layers=phases[0].layers if phases else "all",
    )
