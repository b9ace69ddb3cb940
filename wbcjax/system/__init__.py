"""The machine and its file system: files, malloc, processes, signals."""
