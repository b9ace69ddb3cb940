"""Values as Python source, for config files."""

import math
from typing import Any


def literal(value: Any) -> str:
    """The source of a value of a config: a number, a text, None, or tuples and dicts of these."""
    if isinstance(value, str):
        plain = repr(value)
        return f'"{plain[1:-1]}"' if plain[0] == "'" and '"' not in plain else plain
    if isinstance(value, tuple | list):
        return f"({', '.join(map(literal, value))}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(key)}: {literal(one)}' for key, one in value.items())}}}"
    return repr(value) if not isinstance(value, float) or math.isfinite(value) else f'float("{value}")'
