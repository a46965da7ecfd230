"""What was measured, and the statistics over it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

OURS = "midfill"
EXACT = "midfill, exact layout"
LLAMA = "llama.cpp"
GENERATE = "generate()"
CONTENDERS = (OURS, EXACT, LLAMA, GENERATE)

TOKEN = "token_s"  # noqa: S105 - one token, without speculation
COLD = "ttft_cold_s"
KEY = "ttft_key_s"
ANSWER = "answer_key_s"
SESSION = "session_s"  # all answers after a keystroke, added up


def prefill(n_tokens: int) -> str:
    """Return the metric of an unseen prompt of ``n_tokens``."""
    return f"prefill_{n_tokens}_s"


@dataclass(slots=True)
class Samples:
    """Seconds by metric and contender; one value for each turn."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, metric: str, contender: str, value: float) -> None:
        """Add the value of one more turn."""
        self.values.setdefault(metric, {}).setdefault(contender, []).append(value)

    def p50(self, metric: str, contender: str) -> float | None:
        """Return the median, or None if nothing was measured."""
        found = self.values.get(metric, {}).get(contender)
        return statistics.median(found) if found else None

    def ratio(self, metric: str, rival: str) -> float | None:
        """Return our median over the rival's; for SESSION our sum over the rival's. Less than 1: we are faster."""
        if metric == SESSION:
            ours, theirs = (sum(self.values.get(ANSWER, {}).get(name, ())) for name in (OURS, rival))
            return ours / theirs if ours and theirs else None
        mine, other = self.p50(metric, OURS), self.p50(metric, rival)
        return mine / other if mine is not None and other else None
