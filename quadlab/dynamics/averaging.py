"""Time averages as part of a rule's state."""

from dataclasses import replace

import sympy

from quadlab.dynamics.rule import parameter

__all__ = ["with_running_average"]


def with_running_average(rule, expression):
    """The rule with one more state variable: average+ = average + (expression - average) / memory.

    `expression`, in the state and parameters of the rule, is averaged over about the last `memory` steps (a new
    parameter) of each replica. The spread of `average` over replicas is then that of a time average, whatever the
    correlation of successive steps.

    >>> from quadlab.dynamics import gradient_descent
    >>> rule = gradient_descent()
    >>> with_running_average(rule, rule.state[0] ** 2).update[1]
    average + (-average + position**2)/memory
    """
    average = sympy.Symbol("average", real=True)
    follow = average + (expression - average) / parameter("memory")
    return replace(rule, name=f"{rule.name}, averaged", state=(*rule.state, average), update=(*rule.update, follow))
