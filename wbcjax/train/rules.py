"""Learning rates and weight decays of weights by their paths."""

import re
from collections.abc import Iterator
from typing import Any

import jax

from wbcjax.train.settings import RuleSetting

_NO_RULE = RuleSetting(".*")


def rate_factors(params: Any, rules: tuple[RuleSetting, ...]) -> Any:
    """The factor of the learning rate of each weight, a tree like `params`."""
    return jax.tree.map(lambda rule: rule.learning_rate, _first_rules(params, rules))


def decay_factors(params: Any, rules: tuple[RuleSetting, ...]) -> Any:
    """The factor of the decay of each weight, a tree like `params`."""
    return jax.tree.map(lambda rule: rule.weight_decay, _first_rules(params, rules))


def rule_problems(params: dict[str, Any], rules: tuple[RuleSetting, ...]) -> Iterator[str]:
    """Problems of the rules, a line each: no regular expression, or no weight that the rule would change."""
    for number, rule in enumerate(rules):
        is_this = f"config.train.rules[{number}].paths is {rule.paths!r}"
        try:
            found = jax.tree.leaves(_first_rules(params, rules[: number + 1]))
        except re.error as error:
            yield f"{is_this}, no regular expression ({error}): give one"
            return
        if not any(one is rule for one in found):
            yield (
                f"{is_this}, which matches no weight that an earlier rule leaves: give a regular expression matched "
                f"from the start of paths under {', '.join(sorted(params))}"
            )


def _first_rules(params: Any, rules: tuple[RuleSetting, ...]) -> Any:
    """The first rule that matches the path of each weight; where none does, a rule without effect."""

    def first(keys: tuple[Any, ...], _: Any) -> RuleSetting:
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        return next((rule for rule in rules if re.match(rule.paths, path)), _NO_RULE)

    return jax.tree_util.tree_map_with_path(first, params)
