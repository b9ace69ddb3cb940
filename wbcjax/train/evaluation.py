"""The evaluations of a run: scores are logged, and a collapse is reported."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import jax

from wbcjax.models.variables import Variables
from wbcjax.system.interrupt import Interrupted, StopRequest
from wbcjax.train.progress import RunLog
from wbcjax.train.task import Task

COLLAPSED = 0.01  # of the best score: a model below it finds nothing any more


@dataclass
class Evaluation:
    """Scores the weights of a run by `task.evaluate`, and keeps the best score."""

    task: Task
    log: RunLog
    signals: StopRequest
    steps_per_epoch: float
    best: float  # -inf before the first evaluation

    def score(self, variables: Variables, step: int) -> float | None:
        """The score that ranks checkpoints, of `variables` after `step` steps; None where a signal stopped it.

        Raises ValueError when the evaluation gives no such score.
        """
        # One of several processes must not leave the others waiting: it handles a signal after the evaluation.
        breakable = self.signals.at_once() if jax.process_count() == 1 else contextlib.nullcontext()
        try:
            with breakable:
                scores = self.task.evaluate(variables)
        except Interrupted:
            return None
        return self._note(scores, step)

    def _note(self, scores: Mapping[str, float], step: int) -> float:
        name = self.task.best_score
        if name not in scores:
            raise ValueError(f"the evaluation gave {', '.join(scores)}, not {name!r}")
        self.log.record("eval", step, {"epoch": step / self.steps_per_epoch, **scores})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        self.log.say(f"step {step} evaluated: {shown}")
        self._flag_collapse(scores[name], step)
        return scores[name]

    def _flag_collapse(self, score: float, step: int) -> None:
        name, best = self.task.best_score, self.best
        self.best = max(best, score)
        if best > 0 and score < COLLAPSED * best:
            self.log.record("collapse", step, {name: score, "best": best})
            self.log.say(
                f"step {step}: {name} collapsed, {score:.4g} after {best:.4g}. The best checkpoint is kept. Look at "
                "the losses and skipped steps before; a lower config.train.learning_rate or a clip_norm may help"
            )
