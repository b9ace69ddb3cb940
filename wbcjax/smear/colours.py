"""The colours of classes: in drawings, and in the annotations that are written for tools that show them."""

Colour = tuple[int, int, int]  # RGB

# Light, for purple and pink stain; the first three differ for colour-blind eyes too (yellow, blue, white).
PALETTE: tuple[Colour, ...] = (
    (255, 225, 25),
    (70, 225, 255),
    (255, 255, 255),
    (255, 150, 40),
    (120, 240, 90),
    (90, 130, 255),
)


def colour_of(label: int) -> Colour:
    """The colour of class 1, 2, ...; beyond six classes colours repeat."""
    return PALETTE[(label - 1) % len(PALETTE)]
