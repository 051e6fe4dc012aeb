"""A step runner over the keeper alone: the container has no network but its own loopback device."""

import os
import secrets
import shutil

import anyio

from runtime.oci import defaults


class KeeperRunner:
    def __init__(self, paths, keeper):
        self.paths = paths
        self.keeper = keeper
        self.runs = 0
        self.exit_codes = {}
        self.listening = anyio.Lock()

    async def run(
        self,
        rootfs,
        process,
        mounts,
        network,
        output,
        *,
        extra_hosts=(),
        shm_size_bytes=0,
        is_privileged=False,
        memory_bytes=0,
        hostname="build",
    ):
        self.runs += 1
        id = secrets.token_hex(32)
        bundle = self.paths.bundles / id
        (bundle / "rootfs").mkdir(parents=True)
        lower = [f"lowerdir+={layer}" for layer in rootfs.lower]
        root = {
            "destination": "/",
            "type": "overlay",
            "source": "overlay",
            "options": [*lower, f"upperdir={rootfs.upper}", f"workdir={rootfs.work}"],
        }
        capabilities = list(defaults.CAPABILITIES)
        sets = {name: capabilities for name in ("bounding", "effective", "permitted")}
        namespaces = [{"type": kind} for kind in ("mount", "pid", "uts", "ipc", "network")]
        spec = {
            "ociVersion": "1.2.0",
            "process": {**process, "capabilities": sets},
            "root": {"path": str(bundle / "rootfs")},
            "hostname": hostname,
            "mounts": [root, *defaults.mounts(shm_size_bytes or 1 << 26), *mounts],
            "linux": {"namespaces": namespaces, "cgroupsPath": f"/skiff-{self.paths.engine_id}/{id}"},
        }
        try:
            kept = await self.keeper.launch(id, bundle, spec, stdin=False)
            try:
                for stream, name in enumerate(("stdout", "stderr"), 1):
                    while True:
                        await anyio.wait_readable(kept.fds[name])
                        data = os.read(kept.fds[name], 1 << 16)
                        if not data:
                            break
                        output(data, stream)
                return await self._exit_code(id)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._end(id, kept)
        finally:
            shutil.rmtree(bundle, ignore_errors=True)

    async def _exit_code(self, id):
        # steps that run side by side take turns in hearing of exits, also of each other's
        while id not in self.exit_codes:
            async with self.listening:
                if id not in self.exit_codes:
                    exit = await self.keeper.exits.receive()
                    self.exit_codes[exit.id] = exit.exit_code
        return self.exit_codes[id]

    async def _end(self, id, kept):
        await anyio.wait_readable(kept.pidfd) if await self._killed(id) else None
        kept.close()
        await self.keeper.forget(id)

    async def _killed(self, id):
        try:
            await self.keeper.signal(id, 9)
        except Exception:  # noqa: BLE001 - it has ended already
            return False
        return True
