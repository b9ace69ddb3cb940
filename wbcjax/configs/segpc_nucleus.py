"""Myeloma cells and their nuclei as two classes, on real bone-marrow fields, trained from scratch on a CPU.

Paper: the future work of Suvon et al., who outline whole cells: nucleus and cytoplasm apart. `wbcjax predict` then adds
the nucleus-to-cytoplasm ratio to its table. Otherwise as configs/segpc_mask_rcnn.py:r18_quick.
Data: as there (SegPC-2021, research only), from `coco.json`, which outlines the nucleus of each of the 1643 cells; the
same 60 fields are held out. The annotated cells have a median ratio of areas of 0.74 (5 to 95 %: 0.43 to 2.4): the
nucleus takes up 43 % of the cell.
Cost on two CPU cores: a quarter of an hour at most. Expected on the held-out fields: with twice the channels, 14 epochs
gave mask AP of cells 65.6, of nuclei 68.4 (docs/results.md); the network of today was not trained on them.
"""

from ml_collections import ConfigDict

from wbcjax.configs import segpc_mask_rcnn


def get_config() -> ConfigDict:
    config = segpc_mask_rcnn.get_config("r18_quick_scratch")
    config.dataset.name = "coco"
    config.dataset.annotations = "../shared/data/segpc2021_train/coco.json"
    config.dataset.classes = ("myeloma", "nucleus")
    config.dataset.class_of = (("myeloma_cell", "myeloma"), ("nucleus", "nucleus"))
    config.dataset.max_cells = 32

    # On this canvas 5 to 95 % of the nuclei are 20 to 30 pixels across, and of the cells 28 to 52.
    config.model.rpn.anchor_sizes = (26.0, 40.0, 56.0)
    config.model.rpn.proposals_test = 100
    config.model.detection.per_image = 64
    return config
