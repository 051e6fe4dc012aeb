"""Images in files: `docker save` archives and OCI image layouts, in and out."""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from runtime.errors import BadRequestError
from runtime.image.images import Image, Images
from runtime.image.pack import pack
from runtime.image.reference import Reference


def load(images: Images, archive: Path, progress: Callable[[dict[str, Any]], None]) -> list[Image]:
    """Load every image of the `archive` file. Blocking. Raises BadRequestError when it is none that we know."""
    try:
        with tarfile.open(archive, "r:*") as tar:
            members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
            if "manifest.json" in members:
                return _load_docker(images, tar, members, progress)
            if "index.json" in members:
                return _load_layout(images, tar, members, progress)
    except tarfile.TarError as error:
        raise BadRequestError(
            f"the archive can't be read: {error}", "give what `docker save` or an OCI tool wrote"
        ) from error
    raise BadRequestError("the archive has neither manifest.json nor index.json", "give what `docker save` wrote")


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = tar.extractfile(member)
    if content is None:
        raise BadRequestError(f"the archive's {member.name} is not a file")
    return content.read()


def _layer(images: Images, tar: tarfile.TarFile, member: tarfile.TarInfo, diff_id: str) -> None:
    if images.has_layer(diff_id):
        return
    content = tar.extractfile(member)
    if content is None:
        raise BadRequestError(f"the archive's {member.name} is not a file")
    with images.content.write() as writer:
        while chunk := content.read(1 << 20):
            writer.write(chunk)
    images.unpack_layer(images.content.path(writer.digest), diff_id)
    images.content.delete(writer.digest)


def _load_docker(
    images: Images,
    tar: tarfile.TarFile,
    members: dict[str, tarfile.TarInfo],
    progress: Callable[[dict[str, Any]], None],
) -> list[Image]:
    loaded = []
    for entry in json.loads(_bytes(tar, members["manifest.json"])):
        raw = _bytes(tar, members[entry["Config"]])
        diff_ids = json.loads(raw)["rootfs"]["diff_ids"]
        for name, diff_id in zip(entry["Layers"], diff_ids, strict=True):
            _layer(images, tar, members[name], diff_id)
        loaded.append(_named(images, raw, entry.get("RepoTags") or (), progress))
    return loaded


def _load_layout(
    images: Images,
    tar: tarfile.TarFile,
    members: dict[str, tarfile.TarInfo],
    progress: Callable[[dict[str, Any]], None],
) -> list[Image]:
    def blob(descriptor: dict[str, Any]) -> tarfile.TarInfo:
        return members["blobs/" + descriptor["digest"].replace(":", "/")]

    loaded = []
    for descriptor in json.loads(_bytes(tar, members["index.json"]))["manifests"]:
        manifest = json.loads(_bytes(tar, blob(descriptor)))
        if "manifests" in manifest:
            manifest = json.loads(_bytes(tar, blob(manifest["manifests"][0])))
        raw = _bytes(tar, blob(manifest["config"]))
        for layer, diff_id in zip(manifest["layers"], json.loads(raw)["rootfs"]["diff_ids"], strict=True):
            _layer(images, tar, blob(layer), diff_id)
        notes = descriptor.get("annotations") or {}
        name = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name")
        loaded.append(_named(images, raw, (name,) if name else (), progress))
    return loaded


def _named(images: Images, raw: bytes, names: Sequence[str], progress: Callable[[dict[str, Any]], None]) -> Image:
    image = images.adopt_config(raw)
    for name in names:
        reference = Reference.parse(name)
        images.tag(image, reference)
        progress({"stream": f"Loaded image: {reference.familiar}\n"})
    if not names:
        progress({"stream": f"Loaded image ID: {image.id}\n"})
    return image


def save(images: Images, names: Sequence[str], out: IO[bytes], scratch: Path) -> None:
    """Write the images `names` to `out` as a docker archive that is an OCI layout too. Blocking."""
    manifests, index, written = [], [], set()
    with tarfile.open(fileobj=out, mode="w|") as tar:

        def add(digest: str, source: Path) -> str:
            name = f"blobs/sha256/{digest.partition(':')[2]}"
            if name not in written:
                written.add(name)
                tar.add(source, arcname=name, filter=_plain)
            return name

        for name in names:
            image = images.resolve(name)
            layers = []
            for diff_id in image.diff_ids:
                with tempfile.NamedTemporaryFile(dir=scratch) as file:
                    pack(images.layer_path(diff_id), file)
                    file.flush()
                    layers.append(_describe(Path(file.name), "application/vnd.oci.image.layer.v1.tar"))
                    add(layers[-1]["digest"], Path(file.name))
            # layers packed anew may differ in their bytes from what the image was made of: the config follows them
            config = {**image.config, "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}}
            raw_config = json.dumps(config).encode()
            with tempfile.NamedTemporaryFile(dir=scratch) as file:
                file.write(raw_config)
                file.flush()
                described = _describe(Path(file.name), "application/vnd.oci.image.config.v1+json")
                config_name = add(described["digest"], Path(file.name))
            manifest = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": described,
                "layers": layers,
            }
            with tempfile.NamedTemporaryFile(dir=scratch) as file:
                file.write(json.dumps(manifest).encode())
                file.flush()
                descriptor = _describe(Path(file.name), str(manifest["mediaType"]))
                add(descriptor["digest"], Path(file.name))
            try:
                tags = [Reference.parse(name).familiar] if str(Reference.parse(name)) in image.references else []
            except BadRequestError:
                tags = []
            notes = {"io.containerd.image.name": str(Reference.parse(tags[0]))} if tags else {}
            index.append({**descriptor, "annotations": notes})
            manifests.append(
                {
                    "Config": config_name,
                    "RepoTags": tags or None,
                    "Layers": [f"blobs/sha256/{layer['digest'][7:]}" for layer in layers],
                }
            )
        for file_name, document in (
            ("manifest.json", manifests),
            ("index.json", {"schemaVersion": 2, "manifests": index}),
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ):
            with tempfile.NamedTemporaryFile(dir=scratch) as file:
                file.write(json.dumps(document).encode())
                file.flush()
                tar.add(file.name, arcname=file_name, filter=_plain)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def _describe(path: Path, media_type: str) -> dict[str, Any]:
    import hashlib

    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": path.stat().st_size}
