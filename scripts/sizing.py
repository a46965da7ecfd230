"""How many GPUs a company needs, from its number of people to the memory of keys and values: arithmetic with named
inputs. ``python -m scripts.sizing`` prints the table of docs/team.md.

The anchor is what JetBrains says of its on-premises server: 5 requests per second and card (L40) at a median below 250
ms and a 90th percentile below 1 s, and about 150 people per request per second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ANCHOR_RPS = 5.0  # requests per second of one card
ANCHOR_PEOPLE_PER_RPS = 150.0
GIB = float(1 << 30)


@dataclass(frozen=True, slots=True)
class People:
    """The people who type. ``at_once``: the share of them that types in the busiest minute.

    ``reaching``: the share of their keys that reaches the engine after pauses, typing along and the cache, as `midfill
    load` measures it.
    """

    users: int
    at_once: float = 0.1
    keys_per_minute: float = 100.0
    reaching: float = 0.04

    @property
    def requests_per_s(self) -> float:
        """Requests per second that reach the engines in the busiest minute."""
        return self.users * self.at_once * self.keys_per_minute / 60 * self.reaching


@dataclass(frozen=True, slots=True)
class Model:
    """A decoder, as far as its memory goes. ``weight_bytes`` and ``kv_bytes``: per number."""

    parameters: float
    layers: int
    kv_heads: int
    head_dim: int
    weight_bytes: float = 2.0
    kv_bytes: float = 2.0

    @property
    def weights_gib(self) -> float:
        """Size of its weights in GiB."""
        return self.parameters * self.weight_bytes / GIB

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes of keys and values of one token in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.kv_bytes


@dataclass(frozen=True, slots=True)
class Requests:
    """What one request asks for. ``cached``: the share of a prompt whose keys are there (same file, one key later)."""

    prompt_tokens: int = 2048
    decoded_tokens: int = 24
    cached: float = 0.8
    seconds: float = 0.25  # seconds that it is in the batch


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU. ``prefill`` and ``decode``: tokens per second of a full batch of this model, measured.

    ``adapters_gib``: what --max-loras and --max-lora-rank reserve, ``usable``: --gpu-memory-utilization.
    """

    memory_gib: float
    prefill: float
    decode: float
    usable: float = 0.9
    adapters_gib: float = 1.0
    busy: float = 0.6  # no card is planned to be busier: the queue grows without bound towards 1


@dataclass(frozen=True, slots=True)
class Size:
    """The answer and where it came from. ``limit``: which of the two decided."""

    requests_per_s: float
    requests_per_s_and_card: float
    gpus: int
    limit: str
    kv_gib: float  # of what runs at once on one card
    kv_room_gib: float  # that one card has
    sessions_cached: int  # files whose prompts stay in the memory of one card


def size(people: People, model: Model, requests: Requests, card: Card, *, spare: int = 1) -> Size:
    """Return the cards for ``people``, and ``spare`` more, so that one may fail. Raises ValueError if the model is too
    big."""
    room = card.memory_gib * card.usable - model.weights_gib - card.adapters_gib
    per_request = (requests.prompt_tokens + requests.decoded_tokens) * model.kv_bytes_per_token / GIB
    if room < per_request:
        raise ValueError(f"the model leaves {room:.1f} GiB for keys and values; one request needs {per_request:.2f}")
    work_s = requests.prompt_tokens * (1 - requests.cached) / card.prefill + requests.decoded_tokens / card.decode
    by_time, by_memory = card.busy / work_s, room / per_request / requests.seconds
    rate = min(by_time, by_memory)
    needed = max(1, math.ceil(people.requests_per_s / rate - 1e-9))
    return Size(
        people.requests_per_s, rate, needed + spare, "time" if by_time <= by_memory else "memory",
        rate * requests.seconds * per_request, room, int(room / per_request),
    )  # fmt: skip


def by_anchor(users: int) -> int:
    """Return the number of cards by JetBrains' figures alone, for comparison."""
    return max(1, math.ceil(users / ANCHOR_PEOPLE_PER_RPS / ANCHOR_RPS))


# What docs/team.md shows. The tokens per second are assumptions; `midfill load` measures your own.
QWEN_7B = Model(7.6e9, 28, 4, 128)
QWEN_1B5 = Model(1.54e9, 28, 2, 128)
EXAMPLES = (
    ("7B on 48 GB", QWEN_7B, Card(44.7, prefill=12_000, decode=1_500)),
    ("7B on 80 GB", QWEN_7B, Card(79.6, prefill=45_000, decode=6_000)),
    ("1.5B on 24 GB", QWEN_1B5, Card(22.5, prefill=14_000, decode=2_200, adapters_gib=0.5)),
)
USERS = (50, 200, 1_000, 10_000, 100_000)


def table() -> str:
    """Return a Markdown table of cards by people: three examples with one spare card, and the anchor."""
    head = "| people | requests/s at the peak | " + " | ".join(name for name, _, _ in EXAMPLES) + " | by the anchor |"
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for users in USERS:
        found = [size(People(users), model, Requests(), card) for _, model, card in EXAMPLES]
        cells = " | ".join(str(one.gpus) for one in found)
        lines.append(f"| {users:,} | {found[0].requests_per_s:.1f} | {cells} | {by_anchor(users)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
