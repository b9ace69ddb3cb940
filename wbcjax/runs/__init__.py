"""The files of a run's folder, exported models, and starts from earlier weights."""
