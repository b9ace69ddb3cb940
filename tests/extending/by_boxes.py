import dataclasses

from wbcjax.tasks.detection import Detection
from wbcjax.train.task import Task


class ByBoxes(Detection):
    """Detection that keeps the checkpoint with the best boxes, where the masks matter less."""

    def task(self, workdir=None) -> Task:
        return dataclasses.replace(super().task(workdir), best_score="box/AP")
