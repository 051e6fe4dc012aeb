"""What becomes of a build's image: a name in the engine's store, a push, an archive or files for the client."""

from __future__ import annotations

import stat
import tarfile
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import IO, Any, TypeVar

import anyio.to_thread

from runtime.buildkit import filesync
from runtime.buildkit.builds import Build
from runtime.buildkit.progress import Vertex
from runtime.buildkit.provenance import Wanted, statement
from runtime.buildkit.rpc import UNIMPLEMENTED, UNKNOWN, ClientCall, RpcError, calling
from runtime.buildkit.schema import BYTES, message
from runtime.buildkit.sessions import Session
from runtime.engine.containers.making.roots import ReadOnlyRoot
from runtime.engine.engine import Engine
from runtime.image.images import Image
from runtime.image.index import Attest, Statement
from runtime.image.manifest import Platform
from runtime.image.reference import Reference

SEND = "/moby.filesync.v1.FileSend/DiffCopy"
EXPORTER_ID = "buildkit-attachable-exporter-id"
METADATA = "exporter-md-"
PIECE_BYTES = 32 << 10
STORED = ("image", "moby")
ARCHIVES = ("docker", "oci")
FILES = {"tar": "tarball", "local": "directory"}
Result = TypeVar("Result")


def names_of(attributes: Mapping[str, str]) -> list[Reference]:
    """Return the names that an exporter is to give. Raises BadRequestError."""
    return [Reference.parse(name) for name in attributes.get("name", "").split(",") if name]


async def export(engine: Engine, build: Build, session: Session | None, images: Sequence[Image]) -> dict[str, str]:
    """Do what the client wants with `images`, one for each platform.

    Returns the response for the client (keys as BuildKit has them). Raises RpcError.
    """
    exporters = [(one.Type, dict(one.Attrs)) for one in build.request.Exporters]
    if not exporters and build.request.ExporterDeprecated:
        exporters = [(build.request.ExporterDeprecated, dict(build.request.ExporterAttrsDeprecated))]
    wanted = Wanted.of(build.attributes)
    response = {"containerimage.digest": images[0].id}
    if len(images) == 1:
        response["containerimage.config.digest"] = images[0].id
    for number, (kind, attributes) in enumerate(exporters):
        names = names_of(attributes)
        if names:
            response["image.name"] = ",".join(map(str, names))
        is_index = len(images) > 1 or wanted is not None
        attest = partial(_statements, build, wanted, names)
        if kind in STORED:
            if is_index and attributes.get("push") == "true":
                response["containerimage.digest"] = await _push_index(engine, build, session, images, names, attest)
                continue
            _check_single(
                images, "the engine's store", "add --push, or write it to a file with --output type=oci,dest=FILE"
            )
            await _store(engine, build, session, images[0], names, attributes)
        elif kind == "oci" and is_index:
            with build.progress.vertex("exporting to oci image format") as vertex:
                send = partial(engine.image_api.save_index, [image.id for image in images], attest=attest)
                response["containerimage.digest"] = await _send_archive(session, send, names, number, vertex)
        elif kind in ARCHIVES:
            _check_single(images, "a docker archive", "write it with --output type=oci,dest=FILE")
            with build.progress.vertex(f"exporting to {kind} image format") as vertex:
                await _send_archive(session, partial(engine.image_api.save, [images[0].id]), names, number, vertex)
        elif kind in FILES:
            _check_single(images, "a directory of files", "build for one platform at a time")
            with build.progress.vertex(f"exporting to client {FILES[kind]}") as vertex:
                await _send_files(engine, session, images[0], number, vertex, is_tar=kind == "tar")
        else:
            raise RpcError(UNIMPLEMENTED, f"the output {kind!r} is not served by this engine")
    return response


def _check_single(images: Sequence[Image], where: str, cure: str) -> None:
    if len(images) > 1:
        platforms = ", ".join(str(Platform.of(image.config)) for image in images)
        raise RpcError(UNIMPLEMENTED, f"{where} has room for one platform, and the image is for {platforms}: {cure}")


def _statements(
    build: Build, wanted: Wanted | None, names: Sequence[Reference], platform: Platform, digest: str
) -> Sequence[Statement]:
    if wanted is None or build.facts is None:
        return ()
    return (statement(wanted, build.facts, [str(name) for name in names], platform, digest),)


async def _push_index(
    engine: Engine,
    build: Build,
    session: Session | None,
    images: Sequence[Image],
    names: Sequence[Reference],
    attest: Attest,
) -> str:
    digest = ""
    for name in names:
        with build.progress.vertex(f"pushing {name}"):
            auth = None if session is None else await session.credentials(name.domain)
            digest = await engine.image_api.push_index(name, images, attest, auth=auth)
    return digest


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
    session: Session | None,
    save: Callable[..., Awaitable[Result]],
    names: list[Reference],
    number: int,
    vertex: Vertex,
) -> Result:
    client = _of_client(session)
    async with calling(client.connection, SEND, [(EXPORTER_ID, str(number))]) as call:
        sent = 0

        async def send(data: bytes) -> None:
            nonlocal sent
            for start in range(0, len(data), PIECE_BYTES):
                await call.send(message(BYTES)(data=data[start : start + PIECE_BYTES]))
            sent += len(data)

        saved = await save(send, tags=[name.familiar for name in names])
        vertex.status("sending tarball", sent, sent, is_done=True)
        await _finish(call)
        return saved


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
