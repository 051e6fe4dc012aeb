"""Writing configs and secrets into a container between its creation and its start."""

from __future__ import annotations

import io
import time

from compose.plan.content import injected
from compose.plan.project import DesiredProject
from runtime.client import Client


def inject(client: Client, target: DesiredProject, service: str, id: str) -> None:
    """Write what `injected` gives for the service into container `id`. Raises SkiffError."""
    files = list(injected(target, service))
    if not files:
        return
    import tarfile

    out, now_s = io.BytesIO(), int(time.time())
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in files:
            member = tarfile.TarInfo(file.path.lstrip("/"))
            member.size, member.mode, member.uid, member.gid = len(file.content), file.mode, file.uid, file.gid
            member.mtime = now_s
            tar.addfile(member, io.BytesIO(file.content))
    client.archive_put(id, "/", (out.getvalue(),))
