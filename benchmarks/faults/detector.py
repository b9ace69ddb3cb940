"""The config file of a Mask R-CNN small enough to be trained again and again: 12 drawn fields, 10 steps."""

from ml_collections import ConfigDict

from wbcjax.configs import smear_demo


def get_config() -> ConfigDict:
    config = smear_demo.get_config()
    config.dataset.synthetic.update({"count": 12, "height": 96, "width": 128})
    config.dataset.canvas = (128, 128)
    config.model.backbone.width = 8
    for part in (config.model.fpn, config.model.rpn, config.model.box_head, config.model.mask_head):
        part.channels = 16
    config.model.mask_head.bins = 7
    config.train.update({"batch_size": 4, "epochs": 0.0, "steps": 10, "log_every": 1, "eval_every_epochs": 2.25})
    config.train.checkpoint_minutes = 1e-9
    return config
