"""Figures in Prometheus' text format. They hold no source text and no file names; people appear by the names of their
tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from midfill.types import Stats

BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(slots=True)
class Histogram:
    """Seconds, in cumulative buckets."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total: float = 0.0

    def add(self, value: float) -> None:
        """Add one duration."""
        self.counts[next((n for n, bound in enumerate(BUCKETS_S) if value <= bound), len(BUCKETS_S))] += 1
        self.total += value

    def lines(self, name: str) -> Iterator[str]:
        """Return the lines that Prometheus reads."""
        n = 0
        for bound, count in zip((*BUCKETS_S, None), self.counts, strict=True):
            n += count
            yield f'{name}_bucket{{le="{"+Inf" if bound is None else bound}"}} {n}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {n}"


@dataclass(slots=True)
class Metrics:
    """Counts of requests since the start."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)  # (person, outcome)
    tokens: Counter[str] = field(default_factory=Counter)  # prompt, cached, decoded, dropped
    first_token: Histogram = field(default_factory=Histogram)
    n_running: int = 0

    def ended(self, user: str, outcome: str, stats: Stats | None, n_dropped: int = 0) -> None:
        """Count an ended request: "finished", "cancelled", "limited", "refused" or "failed"."""
        self.requests[user, outcome] += 1
        self.tokens["dropped"] += n_dropped
        if stats is not None:
            self.tokens.update(prompt=stats.n_prompt, cached=stats.n_cached, decoded=stats.n_decoded)
            self.first_token.add(stats.ttft_s)

    def text(self, n_waiting: int) -> str:
        """Return all figures."""
        lines = ["# TYPE midfill_requests_running gauge", f"midfill_requests_running {self.n_running}"]
        lines += ["# TYPE midfill_requests_waiting gauge", f"midfill_requests_waiting {n_waiting}"]
        lines.append("# TYPE midfill_requests_total counter")
        for (user, outcome), n in sorted(self.requests.items()):
            lines.append(f'midfill_requests_total{{user="{user}",outcome="{outcome}"}} {n}')
        lines.append("# TYPE midfill_tokens_total counter")
        lines += [f'midfill_tokens_total{{kind="{kind}"}} {n}' for kind, n in sorted(self.tokens.items())]
        lines.append("# TYPE midfill_first_token_seconds histogram")
        lines += self.first_token.lines("midfill_first_token_seconds")
        return "\n".join(lines) + "\n"
