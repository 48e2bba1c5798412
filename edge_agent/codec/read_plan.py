"""From wanted registers to few requests. Pure: what a device allows comes in as `Limits`.

A span is what must come in one answer: the words of one value, and the exponent register it is scaled by.
A block is one request. Every span lies wholly inside one block; no block is longer than the device takes
(unless a single span is), crosses a barrier between spans, or reads along more unwanted registers in a row than allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

MOST_REGISTERS = 125  # what one answer of the protocol can hold
MOST_BITS = 2000
BIT_TABLES = ("coil", "discrete")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Registers that belong together: unit, table, first address, how many."""

    unit: int
    table: str  # holding, input, coil, discrete
    address: int
    count: int

    @property
    def end(self) -> int:
        """The address after the last one."""
        return self.address + self.count


@dataclass(frozen=True, slots=True)
class Limits:
    """What one device allows."""

    max_registers: int = 100
    max_gap: int = 0
    barriers: tuple[int, ...] = ()
    single_reads: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """One request, and the spans that its answer holds."""

    unit: int
    table: str
    address: int
    count: int
    spans: tuple[Span, ...] = field(compare=False)

    @property
    def end(self) -> int:
        """The address after the last one."""
        return self.address + self.count

    def __str__(self) -> str:
        """`unit 1 input 0-75`"""
        last = f"-{self.end - 1}" if self.count > 1 else ""
        return f"unit {self.unit} {self.table} {self.address}{last}"


def plan(spans: Iterable[Span], limits: Limits, bad: Collection[Span] = ()) -> tuple[Block, ...]:
    """The blocks that read all spans, by unit, table and address, and no register of a `bad` span between them.

    Raises ValueError for a span that no answer can hold.
    """
    blocks: list[Block] = []
    gathered: list[Span] = []
    for span in sorted(set(spans)):
        if span.count > (MOST_BITS if span.table in BIT_TABLES else MOST_REGISTERS):
            raise ValueError(f"{span.table} {span.address}: {span.count} registers do not fit into one answer")
        if gathered and not _fits(gathered, span, limits, bad):
            blocks.append(_block(gathered))
            gathered = []
        gathered.append(span)
    if gathered:
        blocks.append(_block(gathered))
    return tuple(blocks)


def halves(block: Block) -> tuple[Block, ...]:
    """The block as two requests with half of its spans each; just itself when it holds only one."""
    if len(block.spans) < 2:
        return (block,)
    middle = len(block.spans) // 2
    return _block(block.spans[:middle]), _block(block.spans[middle:])


def _fits(gathered: list[Span], span: Span, limits: Limits, bad: Collection[Span]) -> bool:
    first, end = gathered[0], max(one.end for one in gathered)
    if (span.unit, span.table) != (first.unit, first.table) or limits.single_reads:
        return False
    if max(end, span.end) - first.address > limits.max_registers or span.address - end > limits.max_gap:
        return False
    if any(first.address < barrier < span.end for barrier in limits.barriers):
        return False
    return not any((one.unit, one.table) == (span.unit, span.table) and end <= one.address < span.address for one in bad)


def _block(spans: Iterable[Span]) -> Block:
    held = tuple(spans)
    address = min(span.address for span in held)
    return Block(held[0].unit, held[0].table, address, max(span.end for span in held) - address, held)
