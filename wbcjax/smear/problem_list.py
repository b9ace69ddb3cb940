"""Problems of a set as lines for a terminal, where a fault of hundreds of cells is told ten times, and as a table."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from wbcjax.smear.formats.checks import Problem

LISTED = 10  # of a kind
TABLE = "problems.csv"  # that `wbcjax inspect --out` writes
COLUMNS = ("file", "where", "kind", "found", "remedy", "problem or suspect")

# What differs between problems of one kind beside words with digits and names of files: quoted names, and brackets.
_VALUES = re.compile(r"""'(?:[^'\\]|\\.)*'|"[^"]*"|\([^()]*\)?|\[[^]]*\]?|\{[^}]*\}?""")
_KEY = re.compile(r'"[^\s\']*"')  # of a format, which is no name from a file


def kind_of(problem: Problem) -> str:
    """What is the same in problems of one kind: the sentence without its names and numbers."""
    text = _VALUES.sub(lambda value: value[0] if _KEY.fullmatch(value[0]) else "", problem.found)
    words = text.replace(",", " ").split()
    return " ".join(word for word in words if not re.search(r"[\d/]|\w\.\w", word))


def first_of_each_kind(problems: Sequence[Problem], where_all_are: str) -> list[str]:
    """The first LISTED lines of each kind, in their order, and after them how many more there are, and where."""
    kinds = [kind_of(problem) for problem in problems]
    count, told = Counter(kinds), Counter[str]()
    lines = []
    for problem, kind in zip(problems, kinds, strict=True):
        told[kind] += 1
        if told[kind] <= LISTED:
            lines.append(str(problem))
        if told[kind] == LISTED < count[kind]:
            lines.append(f"... and {count[kind] - LISTED} more of this kind{where_all_are}")
    return lines


def problem_table(rows: Iterable[tuple[Problem, str, str]]) -> str:
    """A CSV with COLUMNS from each problem, its kind, and whether it is a "problem" or a "suspect"."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for problem, kind, what in rows:
        writer.writerow(map(_plain, (problem.file, problem.where, kind, problem.found, problem.remedy, what)))
    return table.getvalue()


def _plain(text: str) -> str:
    """A text from a file that no spreadsheet takes for a formula, and no terminal for a command."""
    shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
    return f"'{shown}" if shown[:1] in ("=", "+", "-", "@") else shown
