"""Annotation files of every format that is read or written. Readers are called through `wbcjax.smear.read`."""
