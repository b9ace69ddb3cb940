"""Proposed settings as text: lines of a config file, the rules of their choice, and the fit of the anchors."""

from collections.abc import Mapping

from wbcjax.commands.inspect import proposed_settings as chosen
from wbcjax.commands.inspect.proposed_settings import Anchors, Proposal
from wbcjax.commands.literal import literal
from wbcjax.models.limits import needed
from wbcjax.system.terminal import Table

FEW = 10  # cells of a field, which the limits of every shipped config allow


def config_lines(
    proposal: Proposal,
    file_format: str,
    annotations: str,
    images: str,
    class_of: dict[str, str],
    class_attribute: str,
    group_attribute: str | None,
    taken: Mapping[str, bool],
) -> list[str]:
    """Lines of a config file with the proposed settings. `class_of` maps annotated names to classes, "" leaves out.

    `taken` has further settings of `config.dataset`.
    """
    classes = tuple(dict.fromkeys(name for name in class_of.values() if name))
    low, median, high = proposal.cell_sizes
    sizes = f"  # 5, 50 and 95 % of the cells: {low:.0f}, {median:.0f} and {high:.0f} pixels across"
    anchors = proposal.anchors
    lines = [
        f"config.dataset.name = {literal(file_format)}",
        f"config.dataset.annotations = {literal(annotations)}",
        f"config.dataset.images = {literal(images)}",
        f"config.dataset.classes = {literal(classes)}",
        f"config.dataset.class_of = {literal(tuple(class_of.items()))}",
    ]
    if file_format == "via":
        lines.append(f"config.dataset.class_attribute = {literal(class_attribute)}")
    if group_attribute is not None:
        lines.append(f"config.dataset.group_attribute = {literal(group_attribute)}")
    lines += [f"config.dataset.{name} = {on}" for name, on in taken.items()]
    lines += [
        f"config.dataset.canvas = {proposal.canvas}{sizes}",
        f"config.dataset.max_cells = {proposal.max_cells}",
        f"config.model.rpn.levels = {anchors.levels}",
        f"config.model.rpn.anchor_sizes = {anchors.sizes}",
        f"config.model.rpn.aspect_ratios = {anchors.ratios}",
    ]
    if proposal.max_cells > FEW:  # limits are raised where a config has less, and never lowered
        for name, limit in needed(proposal.max_cells).items():
            lines.append(f"config.model.{name} = max({limit}, config.model.{name})")
    return lines


def notes(proposal: Proposal) -> list[str]:
    """Sentences on how the settings were chosen, and on their limits for this set."""
    low, positive = proposal.cell_sizes[0], 100 * proposal.anchors.positive
    sentences = [
        f"canvas: the smallest of the fields' shape on which 95 % of the cells are {chosen.RESOLVED:.0f} pixels "
        f"across or more, but no larger than the fields, nor than {chosen.CANVAS_AREA} pixels in all. "
        f"rpn: the fewest anchors of which {100 * chosen.ENOUGH:.0f} % of the cells have one with an IoU of "
        f"{chosen.POSITIVE_IOU} or more. max_cells: {100 * (chosen.MARGIN - 1):.0f} % above the most of a field. "
        "Cells worth a look count for max_cells only. The limits below it leave room for as many cells; more are "
        "dropped."
    ]
    if low < chosen.SMALL:
        sentences.append(
            f"5 % of the cells are less than {low:.0f} pixels across on this canvas, which shows little of them: cut "
            "the fields into pieces, or take them at a higher magnification."
        )
    if proposal.anchors.positive < chosen.ENOUGH:
        sentences.append(
            f"No anchors reach that: these overlap {positive:.0f} % of the cells so much. Sizes or shapes are too far "
            "apart for one size on each level."
        )
    return sentences


def anchor_table(proposal: Proposal) -> Table:
    """The proposed anchors beside those of the FPN paper."""
    height, width = proposal.canvas
    note = (
        f"On the proposed canvas of {width} x {height} pixels. The last rows are the share of the cells that an anchor "
        "overlaps by this IoU or more; from 0.7 on the anchor is positive for the RPN."
    )
    names = ("levels", "sizes, pixels", "height / width", "number", "IoU 0.5", "IoU 0.7")
    rows = zip(names, _described(proposal.anchors), _described(proposal.fpn_anchors), strict=True)
    return Table("Anchors", ("", "proposed", "FPN paper"), tuple(rows), note)


def _described(anchors: Anchors) -> tuple[str, ...]:
    return (
        ", ".join(f"P{level}" for level in anchors.levels),
        ", ".join(f"{size:g}" for size in anchors.sizes),
        ", ".join(f"{ratio:g}" for ratio in anchors.ratios),
        f"{anchors.count}",
        f"{100 * anchors.loose:.0f} %",
        f"{100 * anchors.positive:.0f} %",
    )
