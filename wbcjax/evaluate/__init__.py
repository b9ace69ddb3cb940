"""How good are the detections? Scores from plain arrays, which saved detections give again without a model."""
