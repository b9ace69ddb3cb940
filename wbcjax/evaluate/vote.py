"""From the cells of an image to its subtype of acute lymphoblastic leukaemia: the pathologists' rule and two others."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

SUBTYPES = ("L1", "L2", "L3")  # of the FAB group, the later the graver: of equals in a vote the graver wins
MIN_SCORE = 0.9  # minimum confidence of Revanda et al., section 3.5
# Burkitt's disease is called a leukaemia, FAB L3, where its cells are more than a quarter of the marrow (Blum, Lozanski
# and Byrd, Adult Burkitt leukemia and lymphoma, Blood 104, 2004, 3009), and the FAB group calls the cells of L3 alike.
L3_SHARE = 1 / 4

Voters = Mapping[str, Sequence[float]]  # the scores of the cells that vote, by subtype


def vote(
    labels: Sequence[str],
    scores: Sequence[float] | Float[np.ndarray, " n"],
    rule: str = "pathologists",
    min_score: float = MIN_SCORE,
) -> str | None:
    """The subtype of an image by one of RULES, or None, undetected, where no cell votes. The order does not matter.

    Args:
        labels, scores: class and score of each cell found in the image.
        min_score: cells of a lower score do not vote. float32 scores, as detections have, are compared as float32.

    Cells whose class is none of SUBTYPES do not vote.

    Raises ValueError for a rule that is not known, and as `voters` does.
    """
    if rule not in RULES:
        raise ValueError(f"no rule is called {rule!r}; the rules are {', '.join(RULES)}")
    return decide(voters(labels, scores, min_score), rule)


def voters(
    labels: Sequence[str], scores: Sequence[float] | Float[np.ndarray, " n"], min_score: float
) -> dict[str, list[float]]:
    """The scores of the cells that vote, by subtype: see `vote`. Raises ValueError if one is missing or not finite."""
    scores = np.asarray(scores)  # (n,)
    if len(labels) != len(scores) or not np.isfinite(scores).all():
        raise ValueError(f"{len(labels)} cells need as many finite scores, found {scores.tolist()}")
    confident = scores >= min_score
    cells = list(zip(labels, scores.tolist(), confident.tolist(), strict=True))
    return {name: [score for label, score, votes in cells if votes and label == name] for name in SUBTYPES}


def decide(voters: Voters, rule: str) -> str | None:
    """The subtype that these cells vote for by one of RULES; None where there are none."""
    return RULES[rule](voters) if any(voters.values()) else None


def pathologists(voters: Voters) -> str:
    """L3 where there is any L3 cell; else L2 where these are as many as L1 or more; else L1.

    Section 3.7 of Revanda et al., as pathologists recommended to them.
    """
    if voters["L3"]:
        return "L3"
    return "L2" if len(voters["L2"]) >= len(voters["L1"]) else "L1"


def weighted(voters: Voters) -> str:
    """The subtype whose cells' scores have the greatest sum; of equal sums the graver. No cell decides alone.

    A cell counts by its score. One false L3 cell among many others changes nothing.
    """
    # math.fsum rounds once: the sum is the same in any order.
    return max((name for name in SUBTYPES if voters[name]), key=lambda n: (math.fsum(voters[n]), SUBTYPES.index(n)))


def l3_count(voters: Voters) -> str:
    """The pathologists' rule, but L3 only where L3 cells are at least L3_SHARE of those that vote.

    So the least count grows with the number of cells: of up to four one is enough, of five to eight it takes two. By
    the pathologists' rule every further cell of an image is a further chance of a false L3; by this one a few mistaken
    cells of many change nothing. L3 cells that are too few do not vote.
    """
    enough = len(voters["L3"]) >= L3_SHARE * sum(map(len, voters.values()))
    return pathologists(voters if enough else {**voters, "L3": []})


RULES: dict[str, Callable[[Voters], str]] = {
    "pathologists": pathologists,
    "weighted": weighted,
    "l3_count": l3_count,
}
MEANINGS = {  # of the rules, printed beside their results
    "pathologists": "any L3 cell: L3; else L2 where there are as many L2 as L1 cells or more; else L1",
    "weighted": "the subtype whose cells' scores have the greatest sum",
    "l3_count": f"the pathologists' rule, L3 only where {L3_SHARE:.0%} or more of the voting cells are",
}
