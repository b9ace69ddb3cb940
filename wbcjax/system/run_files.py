"""The names of the files in a run's folder, for their writers and readers. The tree of runs/X:

config.json                     the config that it is trained with
data.json                       notes on its data
metrics.jsonl                   a record a line, of training, evaluations and stops
events.out.tfevents.*           the same for TensorBoard
train.lock, train.lock.soft     held by the process that trains here
train.lock.holder               and its number and host; empty when it has ended properly
checkpoints/STEP/               weights and state of the training, and digests.json of these files
calibration.json                temperatures of its scores, by the step of the weights
weights.safetensors             of a packed run, in place of checkpoints; digests.json of its files is beside it
README.md                       and its card
nonfinite.json                  the step that ended a run whose losses were not finite
nonfinite_batch_0.npz           and its batch, as process 0 had it
report.html                     the page of the best weights on val
evaluation/PART/                of the best weights on a part of the data; PART_latest/ of the latest weights, PART_tta/
                                by test-time augmentation, PART_with_RUNS/ asked together with other runs
    scores.json, report.html
    detections.json, contact_sheet.png                                              of a detector
    predictions.json, mistakes.png, curves.png,
    confusion.png, roc.png, precision_recall.png, reliability.png                   of a classifier
"""

CONFIG = "config.json"
DATA = "data.json"
METRICS = "metrics.jsonl"
EVENTS = "events"  # the start of the names of TensorBoard's files
LOCK, LOCK_HOLDER, SOFT_LOCK = "train.lock", "train.lock.holder", "train.lock.soft"
CHECKPOINTS = "checkpoints"
DIGESTS = "digests.json"
CALIBRATION = "calibration.json"
WEIGHTS, CARD = "weights.safetensors", "README.md"
PACKED = (CONFIG, DATA, WEIGHTS, CALIBRATION, DIGESTS, CARD)  # all of a packed run
NONFINITE = "nonfinite.json"
REPORT = "report.html"

EVALUATION = "evaluation"
SCORES = "scores.json"
DETECTIONS, CONTACT_SHEET = "detections.json", "contact_sheet.png"
PREDICTIONS, MISTAKES, CURVES = "predictions.json", "mistakes.png", "curves.png"
CONFUSION, ROC, PRECISION_RECALL = "confusion.png", "roc.png", "precision_recall.png"
RELIABILITY = "reliability.png"


def nonfinite_batch(process: int) -> str:
    """The file of a process's part of the batch of `NONFINITE`."""
    return f"nonfinite_batch_{process}.npz"
