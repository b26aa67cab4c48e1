"""An archive's database moved to another one, while its server does not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

from pacs_server.index.maintenance.copying import Content, copy_content, prepare
from pacs_server.index.maintenance.schema import open_current
from pacs_server.index.site.nodes import Nodes
from pacs_server.service.locks import instance_lock
from pacs_server.service.roll_call import node_name, refuse_beside
from pacs_server.settings import Settings


def copy_database(settings: Settings, url: str) -> Iterator[Content]:
    """Copy the database of an archive to an empty one of the other kind: what each table holds in both, compared.

    The archive goes on with the one that its settings name.

    Raises: Busy while a server of any node runs; Refused; CopyDiffers; SchemaMismatch; ConfigError; IndexUnavailable.
    """
    with (
        instance_lock(settings.data_dir),
        closing(open_current(settings.database)) as source,
    ):
        refuse_beside(Nodes(source).all(), own=node_name(settings), deed="its copy", now=datetime.now(UTC))
        with closing(prepare(settings.database, url)) as target:  # to open it makes a file
            yield from copy_content(source, target)
