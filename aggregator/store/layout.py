"""Which tables there are, and where: in this process, on one server, or on the shards of a cluster.

On a cluster every shard keeps the rows of its sources in ``logs_local``, replicated, and ``logs`` is all of them.
Labels are few and needed wherever rows are: the other tables are whole on every server.
"""

from __future__ import annotations

import msgspec


class Layout(msgspec.Struct, frozen=True):
    """``shared``: other aggregators may use the same store. ``cluster``: its name; empty where there is none.

    ``shards``: how many the cluster has.
    """

    database: str
    shared: bool = False
    cluster: str = ""
    shards: int = 0

    @property
    def on_cluster(self) -> str:
        """What stands in a statement that changes tables, behind their names."""
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    @property
    def logs(self) -> str:
        """The table that records are kept in."""
        return "logs_local" if self.cluster else "logs"

    @property
    def parts(self) -> str:
        """The active parts of all of the store, those of one replica of each shard."""
        every = f"cluster('{self.cluster}', system.parts)" if self.cluster else "system.parts"
        return f"(SELECT * FROM {every} WHERE active AND database = '{self.database}')"  # noqa: S608 - own words

    @property
    def disks(self) -> str:
        """The disks of all servers."""
        return f"clusterAllReplicas('{self.cluster}', system.disks)" if self.cluster else "system.disks"
