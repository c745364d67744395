"""What is kept between two decoding steps.

B sources, W hypotheses of each, N = B x W, those of a source side by side; G heads of keys and of values, K width of a
head; P slots in use, C slots that there is room for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class KeyValueCache:
    """Keys and values of the tokens that hypotheses consist of, and which hypothesis sees which.

    Each token has a slot among those of its source. Hypotheses with a common beginning share its slots, so nothing of
    them moves when a search goes on with some and leaves others: only `visible` does. Slots that nobody sees any more
    are dropped when the buffers are full.

    buffers: for each layer (B,G,2,C,K), keys and values, so that those of all sources are one batch of matrices. They
    are written in place, and all caches made from one share them: only the newest may be written to.
    visible: (B,W,P). columns: (B,P), the place of each slot in its sequence. length: columns so far.
    """

    buffers: tuple[Tensor, ...]
    visible: Tensor
    columns: Tensor
    length: int = 0

    @classmethod
    def empty(cls, num_layers: int, like: Tensor, capacity: int) -> KeyValueCache:
        """One hypothesis for each source; sources, heads, their width, dtype and device are those of like (B,G,2,S,K).

        The buffers are one a layer, because the allocator reuses small blocks and fetches large ones anew each time.
        """
        sources, groups, _, _, width = like.shape
        buffers = tuple(like.new_empty(sources, groups, 2, capacity, width) for _ in range(num_layers))
        visible = torch.empty(sources, 1, 0, dtype=torch.bool, device=like.device)
        return cls(buffers, visible, torch.empty(sources, 0, dtype=torch.long, device=like.device))

    @property
    def num_slots(self) -> int:
        return self.visible.size(2)

    def with_prompts(self, mask: Tensor) -> KeyValueCache:
        """An empty cache -> one whose first slots are those of prompts with mask (B,S), still to be written."""
        columns = torch.arange(mask.size(1), device=mask.device).expand_as(mask)
        return replace(self, visible=mask[:, None], columns=columns, length=mask.size(1))

    def longer(self) -> KeyValueCache:
        """One column more: the last slot of each hypothesis, still to be written."""
        sources, width, _ = self.visible.shape
        cache = self if self.num_slots + width <= self.buffers[0].size(3) else self._with_room()
        own = torch.eye(width, dtype=torch.bool, device=self.visible.device).expand(sources, -1, -1)
        column = self.columns.new_full((sources, width), self.length)
        return KeyValueCache(
            cache.buffers,
            torch.cat((cache.visible, own), dim=2),
            torch.cat((cache.columns, column), dim=1),
            self.length + 1,
        )

    def select(self, sources: Tensor) -> KeyValueCache:
        """Keeps all that belongs to the sources of index (B',)."""
        buffers = tuple(x.index_select(0, sources) for x in self.buffers)
        return replace(self, buffers=buffers, visible=self.visible[sources], columns=self.columns[sources])

    def reorder(self, hypotheses: Tensor) -> KeyValueCache:
        """Row n continues row hypotheses[n], which is one of the same source; (B*W',)."""
        sources, width, slots = self.visible.shape
        first = torch.arange(0, sources * width, width, device=hypotheses.device)
        places = hypotheses.view(sources, -1) - first[:, None]  # (B,W')
        return replace(self, visible=self.visible.gather(1, places[:, :, None].expand(-1, -1, slots)))

    def mask(self, dtype: torch.dtype, row: Tensor | None = None) -> Tensor:
        """What is added to scores: -inf where a hypothesis does not see a slot, else 0 -> (B,1,W,P).

        row: a bias for each column that is added, too, (1,H,1,length) -> (B,H,W,P).
        """
        hidden = ~self.visible[:, None]
        if row is None:
            return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))
        of_slots = row[0, :, 0, self.columns].transpose(0, 1)[:, :, None]  # (H,B,P) -> (B,H,1,P)
        return of_slots.to(dtype).masked_fill(hidden, float("-inf"))

    def _with_room(self) -> KeyValueCache:
        """Without the slots that nobody sees, and with room for as many more as there are. Waits for the device."""
        sources, groups, _, capacity, _ = self.buffers[0].shape
        seen = self.visible.any(dim=1)  # (B,P)
        kept = int(seen.sum(dim=1).amax()) if self.num_slots else 0
        slots = seen.byte().argsort(dim=1, descending=True, stable=True)[:, :kept]
        of_heads = torch.arange(0, sources * groups * 2 * capacity, capacity, device=slots.device)
        rows = (of_heads.view(sources, -1, 1) + slots[:, None]).flatten()
        room = 2 * (kept + self.visible.size(1))

        def larger(buffer: Tensor) -> Tensor:
            result = buffer.new_empty(*buffer.shape[:3], room, buffer.size(4))
            moved = buffer.view(-1, buffer.size(4)).index_select(0, rows)
            result[:, :, :, :kept] = moved.view(*buffer.shape[:3], kept, -1)
            return result

        visible = self.visible.gather(2, slots[:, None].expand(-1, self.visible.size(1), -1))
        return KeyValueCache(
            tuple(larger(x) for x in self.buffers), visible, self.columns.gather(1, slots), self.length
        )


def select_sources(x: Tensor, sources: Tensor, num_sources: int) -> Tensor:
    """x (N,...), of which each source has the same number of rows -> the rows of the sources of index (B',)."""
    by_source = x.view(num_sources, x.size(0) // num_sources, *x.shape[1:])  # (N,...) -> (B,W,...)
    return by_source.index_select(0, sources).flatten(0, 1)


def is_identity(rows: Tensor, num_rows: int) -> bool:
    """Whether reordering num_rows rows by this index changes nothing, as far as can be told without a device sync."""
    if rows.device.type != "cpu" or rows.size(0) != num_rows:
        return False
    return torch.equal(rows, torch.arange(num_rows, device="cpu"))
