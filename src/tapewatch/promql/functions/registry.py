"""What a function of the language is: its name, the types of its arguments, how it is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tapewatch.promql.ast import Call, ValueType

if TYPE_CHECKING:
    from tapewatch.promql.evaluation import Evaluation
    from tapewatch.promql.values import Value
    from tapewatch.series.querier import Times

VECTOR, MATRIX = ValueType.VECTOR, ValueType.MATRIX
SCALAR, STRING = ValueType.SCALAR, ValueType.STRING


@dataclass(slots=True)
class Invocation:
    """One call of a function during an evaluation."""

    node: Call
    args: Sequence[Any]
    """Evaluated arguments: `Vector`, `Windows`, floats per step or text, as the types say."""
    times: Times
    evaluation: Evaluation

    @property
    def steps(self) -> int:
        return len(self.times)


Implementation = Callable[[Invocation], "Value"]


@dataclass(frozen=True, slots=True)
class Function:
    """One entry of the function table."""

    name: str
    args: tuple[ValueType, ...]
    run: Implementation | None
    """None: the language knows it, we do not compute it; calling it is a clear error."""
    variadic: int = 0
    """How many arguments beyond ``len(args) - 1`` are allowed; 0 means exactly ``args``, -1 any."""
    returns: ValueType = VECTOR
    reason: str = field(default="", kw_only=True)
    """Why there is no implementation."""
    evaluates_args: bool = field(default=True, kw_only=True)
    """False: the implementation evaluates its arguments from the node itself."""
    depends_on_time: Callable[[Call], bool] = field(default=lambda node: False, kw_only=True)
    """Whether a call's result changes with the instant even when its arguments do not."""
