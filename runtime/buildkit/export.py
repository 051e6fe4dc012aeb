"""What becomes of a build's image: a name in the engine's store, a push, an archive or files for the client."""

from __future__ import annotations

import stat
import tarfile
import tempfile
from collections.abc import Mapping
from typing import IO, Any

import anyio.to_thread

from runtime.buildkit import filesync
from runtime.buildkit.builds import Build
from runtime.buildkit.progress import Vertex
from runtime.buildkit.rpc import UNIMPLEMENTED, UNKNOWN, ClientCall, RpcError, calling
from runtime.buildkit.schema import BYTES, message
from runtime.buildkit.sessions import Session
from runtime.engine.containers.making.roots import ReadOnlyRoot
from runtime.engine.engine import Engine
from runtime.image.images import Image
from runtime.image.reference import Reference

SEND = "/moby.filesync.v1.FileSend/DiffCopy"
EXPORTER_ID = "buildkit-attachable-exporter-id"
METADATA = "exporter-md-"
PIECE_BYTES = 32 << 10
STORED = ("image", "moby")
ARCHIVES = ("docker", "oci")


def names_of(attributes: Mapping[str, str]) -> list[Reference]:
    """Return the names that an exporter is to give. Raises BadRequestError."""
    return [Reference.parse(name) for name in attributes.get("name", "").split(",") if name]


async def export(engine: Engine, build: Build, session: Session | None, image: Image) -> dict[str, str]:
    """Do what the client wants with `image`; return what it is told (keys as BuildKit has them). Raises RpcError."""
    exporters = [(one.Type, dict(one.Attrs)) for one in build.request.Exporters]
    if not exporters and build.request.ExporterDeprecated:
        exporters = [(build.request.ExporterDeprecated, dict(build.request.ExporterAttrsDeprecated))]
    told = {"containerimage.config.digest": image.id, "containerimage.digest": image.id}
    for number, (kind, attributes) in enumerate(exporters):
        names = names_of(attributes)
        if names:
            told["image.name"] = ",".join(map(str, names))
        if kind in STORED:
            await _store(engine, build, session, image, names, attributes)
        elif kind in ARCHIVES:
            with build.progress.vertex(f"exporting to {kind} image format") as vertex:
                await _send_archive(engine, session, image, names, number, vertex)
        elif kind == "tar":
            with build.progress.vertex("exporting to client tarball") as vertex:
                await _send_files(engine, session, image, number, vertex, is_tar=True)
        elif kind == "local":
            with build.progress.vertex("exporting to client directory") as vertex:
                await _send_files(engine, session, image, number, vertex, is_tar=False)
        else:
            raise RpcError(UNIMPLEMENTED, f"the output {kind!r} is not served by this engine")
    return told


async def _store(
    engine: Engine,
    build: Build,
    session: Session | None,
    image: Image,
    names: list[Reference],
    attributes: Mapping[str, str],
) -> None:
    with build.progress.vertex("exporting to image") as vertex:
        vertex.status(f"writing image {image.id}", 0, 0, is_done=True)
        for name in names:
            engine.images.tag(image, name)
            vertex.status(f"naming to {name}", 0, 0, is_done=True)
        await engine.store.flush()
    if attributes.get("push") == "true":
        for name in names:
            with build.progress.vertex(f"pushing {name}"):
                auth = None if session is None else await session.credentials(name.domain)
                await engine.image_api.push(str(name), _to_nobody, auth=auth)


async def _to_nobody(_: Any) -> None:
    return


def _of_client(session: Session | None) -> Session:
    if session is None or not session.serves(SEND):
        raise RpcError(UNKNOWN, "the build's client takes no files")
    return session


async def _send_archive(
    engine: Engine, session: Session | None, image: Image, names: list[Reference], number: int, vertex: Vertex
) -> None:
    client = _of_client(session)
    async with calling(client.connection, SEND, [(EXPORTER_ID, str(number))]) as call:
        sent = 0

        async def send(data: bytes) -> None:
            nonlocal sent
            for start in range(0, len(data), PIECE_BYTES):
                await call.send(message(BYTES)(data=data[start : start + PIECE_BYTES]))
            sent += len(data)

        await engine.image_api.save([image.id], send, tags=[name.familiar for name in names])
        vertex.status("sending tarball", sent, sent, is_done=True)
        await _finish(call)


async def _finish(call: ClientCall) -> None:
    await call.end()
    while await call.receive_bytes() is not None:
        pass


async def _send_files(
    engine: Engine, session: Session | None, image: Image, number: int, vertex: Vertex, *, is_tar: bool
) -> None:
    client = _of_client(session)
    with tempfile.TemporaryFile(dir=engine.paths.tmp, prefix="export-") as spool:
        with tempfile.TemporaryDirectory(dir=engine.paths.tmp, prefix="export-") as nothing:
            empty = anyio.Path(nothing)
            await (empty / "upper").mkdir()
            layers = [str(layer) for layer in engine.images.layer_directories(image)]
            root = ReadOnlyRoot(engine.paths.tmp, layers, engine.paths.tmp / nothing)
            with root as where:
                await engine.keeper.task("tar_out", where, [spool.fileno()], path="/.")
        spool.seek(0)
        async with calling(client.connection, SEND, [(EXPORTER_ID, str(number))]) as call:
            if is_tar:
                while data := await anyio.to_thread.run_sync(spool.read, PIECE_BYTES):
                    await call.send(message(BYTES)(data=data))
                await _finish(call)
            else:
                await _Sender(call, spool).run()
        vertex.status("copying files", spool.tell(), spool.tell(), is_done=True)


class _Sender:
    """Sends the files of a tar as a directory (see `filesync`)."""

    def __init__(self, call: ClientCall, spool: IO[bytes]) -> None:
        self._call = call
        self._packet = message(filesync.PACKET)
        self._tar = tarfile.open(fileobj=spool, mode="r:")  # noqa: SIM115 - closed with its file

    async def run(self) -> None:
        members = await anyio.to_thread.run_sync(self._tar.getmembers)
        # the client takes them in the order of a walk
        ordered = sorted(
            (member for member in members if member.name.strip("./")),
            key=lambda member: _path(member).split("/"),
        )
        for member in ordered:
            await self._call.send(self._packet(type=filesync.STAT, stat=_stat(member)))
        await self._call.send(self._packet(type=filesync.STAT))
        while True:
            packet = await self._call.receive(filesync.PACKET)
            if packet is None or packet.type == filesync.FIN:
                break
            if packet.type == filesync.ERROR:
                raise RpcError(
                    UNKNOWN, f"the client can't write what was built: {packet.data.decode(errors='replace')}"
                )
            if packet.type == filesync.REQUEST:
                await self._content(packet.ID, ordered[packet.ID])
        await self._call.send(self._packet(type=filesync.FIN))
        await _finish(self._call)

    async def _content(self, number: int, member: tarfile.TarInfo) -> None:
        file = self._tar.extractfile(member)
        if file is not None:
            with file:
                while data := await anyio.to_thread.run_sync(file.read, PIECE_BYTES):
                    await self._call.send(self._packet(type=filesync.DATA, ID=number, data=data))
        await self._call.send(self._packet(type=filesync.DATA, ID=number))


def _path(member: tarfile.TarInfo) -> str:
    return member.name.removeprefix("./").strip("/")


def _stat(member: tarfile.TarInfo) -> Any:
    found = message("fsutil.types.Stat")(
        path=_path(member),
        mode=_mode(member),
        uid=member.uid,
        gid=member.gid,
        size=member.size if member.isreg() else 0,
        modTime=int(float(member.pax_headers.get("mtime", member.mtime)) * 10**9),
    )
    if member.issym():
        found.linkname = member.linkname
    elif member.islnk():
        found.linkname = member.linkname.removeprefix("./").strip("/")
    elif member.isdev():
        found.devmajor, found.devminor = member.devmajor, member.devminor
    return found


def _mode(member: tarfile.TarInfo) -> int:
    kinds = (
        (member.isdir(), filesync.DIRECTORY),
        (member.issym(), filesync.SYMLINK),
        (member.isfifo(), filesync.FIFO),
        (member.isblk() or member.ischr(), filesync.DEVICE),
        (member.ischr(), filesync.CHARACTER),
        (bool(member.mode & stat.S_ISUID), filesync.SETUID),
        (bool(member.mode & stat.S_ISGID), filesync.SETGID),
        (bool(member.mode & stat.S_ISVTX), filesync.STICKY),
    )
    return member.mode & 0o777 | sum(bit for applies, bit in kinds if applies)
