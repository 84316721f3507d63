"""The two streams of a container's log: their labels and ids."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from aggregator.store.streams import Stream

if TYPE_CHECKING:
    from wire.batch import Batch, Chunk

# Containers remembered, about 2 KB each: a large cluster's. One that is forgotten costs 10 microseconds.
_CONTAINERS_MAX: Final = 20_000


class PodStreams:
    """Streams by container, the ones used lately remembered. Used from one thread at a time."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], tuple[Stream, Stream]] = OrderedDict()

    def of(self, batch: Batch, chunk: Chunk) -> tuple[Stream, Stream]:
        """The streams of stdout and of stderr of the container that ``chunk`` comes from."""
        key = (batch.cluster, batch.node, chunk.namespace, chunk.pod, chunk.uid, chunk.container)
        found = self._known.get(key)
        if found is None:
            names = ("cluster", "node", "namespace", "pod", "uid", "container")
            labels = dict(zip(names, key, strict=True))
            found = (Stream.of({**labels, "stream": "stdout"}), Stream.of({**labels, "stream": "stderr"}))
            self._known[key] = found
            if len(self._known) > _CONTAINERS_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return found
