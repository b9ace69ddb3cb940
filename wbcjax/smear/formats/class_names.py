"""The names of YOLO's classes: from data.yaml, from classes.txt of Label Studio and LabelImg, or obj.names of CVAT."""

from pathlib import Path
from typing import Any

import yaml

from wbcjax.smear.formats.checks import Fault, brief
from wbcjax.smear.formats.load import load_text

MOST = 2**18  # characters of a YAML file: it is read at a few of them in a microsecond, and holds names
YAML = (".yaml", ".yml")
LISTS = ("classes.txt", "obj.names")
DATA = "data.yaml"


def file_of_names(folder: Path) -> Path | None:
    """The file in a folder that names the classes. Fault: there are several, and none is data.yaml."""
    if (folder / DATA).is_file():
        return folder / DATA
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in YAML and path.is_file())
    if len(found) > 1:
        raise Fault(f"it holds {len(found)} YAML files, and no {DATA}", f"name the right one {DATA}")
    return next(iter(found), None) or next((folder / name for name in LISTS if (folder / name).is_file()), None)


def load_names(file: Path) -> dict[int, str]:
    """The names of class 0, 1, .... Faults: unreadable, broken, names of key points, or none of classes."""
    text = load_text(file)
    if file.suffix.lower() not in YAML:
        return dict(enumerate(line.strip() for line in text.rstrip().split("\n")))
    data = _load_yaml(file.name, text)
    names = data.get("names") if isinstance(data, dict) else None
    if isinstance(data, dict) and "kpt_shape" in data:
        raise Fault(f"{file.name} is of key points (kpt_shape), not of outlines", "export outlines or boxes")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise Fault(f"{file.name} has no list of class names (found {brief(names)})", 'give them under "names"')
    try:
        numbered = {int(number): name.strip() for number, name in names.items()}
    except ValueError as error:
        raise Fault(f"{file.name} numbers a class otherwise ({error})", "number the classes 0, 1, ...") from error
    if len(numbered) < len(names):
        raise Fault(f"{file.name} names a class twice", "number the classes 0, 1, ...")
    return numbered


class _Plain(yaml.BaseLoader):
    """YAML with every value as its text: a class named `no` is no truth value. Keys and values are given once each."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias")  # a few of them nested stand for gigabytes
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        repeated = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
        if repeated is not None:
            raise yaml.YAMLError(f"the key {brief(repeated)} is given twice")
        return super().construct_mapping(node, deep)


def _load_yaml(name: str, text: str) -> Any:
    if len(text) > MOST:
        raise Fault(
            f"{name} has {len(text)} characters, and {MOST} are read of a YAML file", "keep the class names only"
        )
    try:
        return yaml.load(text, _Plain)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Fault(f"{name} is broken YAML ({brief(str(error))})", "correct it") from error
