"""Documents with one value replaced by something else: what hypothesis feeds the readers of annotation files."""

import copy
from typing import Any

from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=3), child, max_size=3),
    max_leaves=5,
)


@st.composite
def with_one_value_replaced(draw: st.DrawFn, document: Any) -> Any:
    """A copy of the JSON document with any JSON in the place of one value, at any depth."""
    document = copy.deepcopy(document)
    place = document
    while True:
        key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        if not place[key] or not isinstance(place[key], dict | list) or draw(st.integers(0, 3)) == 0:
            place[key] = draw(JSON)
            return document
        place = place[key]
