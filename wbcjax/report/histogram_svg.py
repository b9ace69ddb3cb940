"""A histogram as an SVG drawing in the colours and font of the page around it."""

from wbcjax.report.histogram import Histogram, bin_name, escaped

WIDTH, HEIGHT = 520, 220  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 16, 16, 22, 44  # room for half of the outermost labels
GAP = 2  # between bars
LABELS = 12  # below the axis, at most


def histogram_svg(histogram: Histogram) -> str:
    """The drawing as an <svg> element: a bar of each bin, its count above it, the values below the axis."""
    bins, most = len(histogram.counts), max(*histogram.counts, 1)
    step, floor = (WIDTH - LEFT - RIGHT) / bins, HEIGHT - BOTTOM
    parts = []
    for position, count in enumerate(histogram.counts):
        left, height = LEFT + position * step, (floor - TOP) * count / most
        parts.append(
            f'<rect x="{left + GAP / 2:.1f}" y="{floor - height:.1f}" width="{step - GAP:.1f}" height="{height:.1f}">'
            f"<title>{bin_name(histogram, position)}: {count}</title></rect>"
        )
        if count:
            parts.append(_text(left + step / 2, floor - height - 4, f"{count}"))
    parts.append(f'<line x1="{LEFT}" y1="{floor}" x2="{WIDTH - RIGHT}" y2="{floor}"/>')
    single = bin_name(histogram, 0) == f"{histogram.edges[0]:g}"  # each bin is one number, written below its middle
    for position, edge in enumerate(histogram.edges[: bins if single else bins + 1]):
        if position % -(-bins // LABELS) == 0:
            parts.append(_text(LEFT + (position + 0.5 * single) * step, floor + 16, f"{edge:g}"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, histogram.axis))
    label = escaped(f"{histogram.title}, by {histogram.axis}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escaped(text)}</text>'
