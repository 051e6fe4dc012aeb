"""Pull and push against a real registry: what moves, what is refused, what stays."""

import hashlib
import json
import os
import subprocess
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from runtime.errors import BadRequestError, EngineError, NotFoundError, UnavailableError
from runtime.image.archive import load
from runtime.image.images import Images
from runtime.image.manifest import OCI_INDEX, Descriptor
from runtime.image.pull import pull
from runtime.image.push import push
from runtime.image.reference import Reference
from runtime.image.registry import Registry
from runtime.image.registry_auth import Credentials, constant
from runtime.image.registry_http import HttpClient, TransferError
from runtime.paths import Paths
from runtime.space import is_full
from runtime.store import Store
from tests.support.images import busybox_archive
from tests.support.registry import USERS, LocalRegistry, free_port

pytestmark = [pytest.mark.root, pytest.mark.registry]


def quiet(_):
    """Drop progress."""


@asynccontextmanager
async def images_of(base):
    paths = Paths(base / "root", base / "run")
    store = Store.open(paths)
    try:
        yield Images(paths, store)
    finally:
        store.close()


@pytest.fixture
def base():
    with tempfile.TemporaryDirectory(prefix="skiff-image-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def published(registry, tmp_path_factory):
    """A busybox image in the registry's repository tests/app, tag 1; its ID, digest and layer blob."""

    async def publish():
        base = tmp_path_factory.mktemp("published")
        async with images_of(base) as images:
            (image,) = await load(images, busybox_archive(base / "busybox.tar"), quiet)
            reference = Reference.parse(f"{registry.domain}/tests/app:1")
            images.tag(image, reference)
            digest = await push(images, reference, progress=quiet)
            async with Registry.open(registry.domain) as client:
                found = await client.manifest(reference)
            return image.id, digest, found.parsed.layers[0].digest

    return anyio.run(publish)


def blobs(images):
    return {path.name for path in images.content.path("sha256:" + "0" * 64).parent.parent.rglob("*") if path.is_file()}


def test_a_pull_gives_the_image_that_was_pushed(registry, published, base):
    async def main():
        async with images_of(base) as images:
            reference = Reference.parse(f"{registry.domain}/tests/app:1")
            image = await pull(images, reference, progress=quiet)
            assert (image.id, images.resolve(str(reference)).id) == (published[0], published[0])
            assert image.digests == (f"{registry.domain}/tests/app@{published[1]}",)
            assert (images.layer_path(image.diff_ids[0]) / "bin/busybox").stat().st_mode & 0o777 == 0o755

    anyio.run(main)


def test_progress_is_reported_as_docker_does(registry, published, base):
    async def main():
        async with images_of(base) as images:
            told = []
            await pull(images, Reference.parse(f"{registry.domain}/tests/app:1"), progress=told.append)
            id = published[2][7:19]
            assert told[0] == {"status": "Pulling from tests/app", "id": "1"}
            states = [message["status"] for message in told if message.get("id") == id]
            wanted = ["Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete", "Pull complete"]
            assert [state for state in states if state in wanted] == wanted
            downloading = next(message for message in told if message["status"] == "Downloading")
            assert set(downloading["progressDetail"]) == {"current", "total"}
            assert told[-2] == {"status": f"Digest: {published[1]}"}
            assert told[-1]["status"].startswith("Status: Downloaded newer image for ")

    anyio.run(main)


def test_a_pull_of_what_is_here_moves_no_blob(relay, published, base):
    async def main():
        async with images_of(base) as images:
            reference = Reference.parse(f"{relay.domain}/tests/app:1")
            await pull(images, reference, progress=quiet)
            assert len(relay.blobs()) == 2
            relay.requests.clear()
            told = []
            await pull(images, reference, progress=told.append)
            assert relay.blobs() == []
            assert told[-1]["status"] == f"Status: Image is up to date for {reference.familiar}"

    anyio.run(main)


def test_a_transfer_that_breaks_off_goes_on_where_it_was(relay, published, base):
    async def main():
        async with images_of(base) as images:
            relay.break_after, relay.breaks = 300_000, 2
            image = await pull(images, Reference.parse(f"{relay.domain}/tests/app:1"), progress=quiet)
            assert image.id == published[0]
            ranges = [request for request in relay.blobs() if "Range: bytes=" in request]
            assert len(ranges) == 2
            assert "Range: bytes=0-" not in "".join(ranges)

    anyio.run(main)


def test_a_cancelled_pull_is_taken_up_by_the_next(relay, published, base):
    async def main():
        async with images_of(base) as images:
            reference = Reference.parse(f"{relay.domain}/tests/app:1")
            relay.break_after, relay.breaks = 300_000, 1
            with anyio.CancelScope() as scope:

                def cancel_at_the_break(message):
                    if message["status"].startswith("Retrying"):
                        scope.cancel()

                await pull(images, reference, progress=cancel_at_the_break)
            assert scope.cancelled_caught
            assert images.list() == []
            relay.requests.clear()
            await pull(images, reference, progress=quiet)
            assert any("Range: bytes=" in request for request in relay.blobs())

    anyio.run(main)


def test_a_corrupt_blob_is_refused_and_nothing_stays(base, tmp_path):
    async def main():
        registry = LocalRegistry()
        try:
            async with images_of(tmp_path) as images:
                (image,) = await load(images, busybox_archive(tmp_path / "busybox.tar"), quiet)
                reference = Reference.parse(f"{registry.domain}/bad:1")
                images.tag(image, reference)
                await push(images, reference, progress=quiet)
                async with Registry.open(registry.domain) as client:
                    layer = (await client.manifest(reference)).parsed.layers[0]
            stored = registry.blob(layer.digest)
            damaged = bytearray(stored.read_bytes())
            damaged[len(damaged) // 2] ^= 0xFF
            stored.write_bytes(damaged)
            async with images_of(base) as images:
                with pytest.raises(BadRequestError, match="has digest"):
                    await pull(images, reference, progress=quiet)
                assert blobs(images) == set()
                assert images.list() == []
                assert not any((base / "root/tmp").glob("*"))
        finally:
            registry.stop()

    anyio.run(main)


def test_two_pulls_of_one_image_at_once_fetch_each_blob_once(relay, published, base):
    async def main():
        async with images_of(base) as images:
            reference = Reference.parse(f"{relay.domain}/tests/app:1")

            async def one():
                await pull(images, reference, progress=quiet)

            async with anyio.create_task_group() as group:
                group.start_soon(one)
                group.start_soon(one)
            assert len([request for request in relay.blobs() if published[2] in request]) == 1

    anyio.run(main)


def test_a_reference_by_digest_is_pulled_and_found(registry, published, base):
    async def main():
        async with images_of(base) as images:
            name = f"{registry.domain}/tests/app@{published[1]}"
            image = await pull(images, Reference.parse(name), progress=quiet)
            assert image.references == ()
            assert images.resolve(name).id == image.id
            assert images.resolve(f"{registry.domain}/tests/app:1@{published[1]}").id == image.id
            with_tag = Reference.parse(f"{registry.domain}/tests/app:whatever@{published[1]}")
            assert (await pull(images, with_tag, progress=quiet)).id == image.id

    anyio.run(main)


def test_with_the_last_name_in_a_repository_its_digest_goes(registry, published, base):
    async def main():
        async with images_of(base) as images:
            name = f"{registry.domain}/tests/app:1"
            image = await pull(images, Reference.parse(name), progress=quiet)
            images.tag(image, Reference.parse("mine:1"))
            removed = images.remove(name, force=False, in_use=lambda _: None)
            kept = images.resolve("mine:1")
            assert [one["Untagged"] for one in removed] == [name, f"{registry.domain}/tests/app@{published[1]}"]
            assert (kept.references, kept.digests) == (("docker.io/library/mine:1",), ())

    anyio.run(main)


def test_an_index_gives_the_platform_that_is_wanted(registry, published, base):
    async def main():
        async with Registry.open(registry.domain) as client:
            native = await client.manifest(Reference.parse(f"{registry.domain}/tests/app:1"))
            foreign_config = json.dumps(
                {"architecture": "riscv64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
            ).encode()
            digest = f"sha256:{hashlib.sha256(foreign_config).hexdigest()}"
            config = Descriptor("application/vnd.oci.image.config.v1+json", digest, len(foreign_config))
            await client.upload("tests/app", config, constant(foreign_config))
            foreign = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": config.document(),
                    "layers": [],
                }
            ).encode()
            await client.put_manifest(
                Reference.parse(f"{registry.domain}/tests/app:foreign"),
                foreign,
                "application/vnd.oci.image.manifest.v1+json",
            )
            entries = [
                {**Descriptor("application/vnd.oci.image.manifest.v1+json", f"sha256:{hashlib.sha256(foreign).hexdigest()}",
                              len(foreign)).document(), "platform": {"os": "linux", "architecture": "riscv64"}},
                {**Descriptor(native.media_type, native.digest, len(native.raw)).document(),
                 "platform": {"os": "linux", "architecture": "amd64"}},
            ]  # fmt: skip
            index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
            reference = Reference.parse(f"{registry.domain}/tests/app:many")
            await client.put_manifest(reference, index, OCI_INDEX)
        async with images_of(base) as images:
            image = await pull(images, reference, platform="linux/amd64", progress=quiet)
            assert image.id == published[0]
            assert image.digests[0].endswith(hashlib.sha256(index).hexdigest())
            other = await pull(images, reference, platform="linux/riscv64", progress=quiet)
            assert other.config["architecture"] == "riscv64"
            with pytest.raises(NotFoundError, match="no matching manifest for linux/s390x") as caught:
                await pull(images, reference, platform="linux/s390x", progress=quiet)
            assert "linux/amd64, linux/riscv64" in caught.value.hint

    anyio.run(main)


def test_an_index_that_does_not_say_what_its_manifests_are_for_is_looked_into(registry, published, base):
    async def main():
        reference = Reference.parse(f"{registry.domain}/tests/app:untold")
        async with Registry.open(registry.domain) as client:
            native = await client.manifest(Reference.parse(f"{registry.domain}/tests/app:1"))
            entry = Descriptor(native.media_type, native.digest, len(native.raw)).document()
            index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
            await client.put_manifest(reference, index, OCI_INDEX)
        async with images_of(base) as images:
            assert (await pull(images, reference, progress=quiet)).id == published[0]
            with pytest.raises(NotFoundError, match="no matching manifest for linux/arm64"):
                await pull(images, reference, platform="linux/arm64", progress=quiet)

    anyio.run(main)


def test_an_image_for_another_platform_than_asked_is_refused(registry, published, base):
    async def main():
        async with images_of(base) as images:
            reference = Reference.parse(f"{registry.domain}/tests/app:1")
            with pytest.raises(NotFoundError, match="is for linux/amd64, not for linux/arm64"):
                await pull(images, reference, platform="linux/arm64", progress=quiet)

    anyio.run(main)


def test_a_push_sends_only_what_the_registry_lacks(relay, published, base):
    async def main():
        async with images_of(base) as images:
            image = await pull(images, Reference.parse(f"{relay.domain}/tests/app:1"), progress=quiet)
            relay.requests.clear()
            again = Reference.parse(f"{relay.domain}/tests/app:2")
            images.tag(image, again)
            assert await push(images, again, progress=quiet) == published[1]
            assert [r for r in relay.requests if r.startswith(("POST", "PATCH", "PUT")) and "/blobs/" in r] == []
            elsewhere = Reference.parse(f"{relay.domain}/tests/mounted{free_port()}:1")
            images.tag(image, elsewhere)
            told = []
            assert await push(images, elsewhere, progress=told.append) == published[1]
            assert any(message.get("status") == "Mounted from tests/app" for message in told)

    anyio.run(main)


def test_a_private_registry_wants_credentials(base):
    async def main():
        registry = LocalRegistry(USERS)
        try:
            async with images_of(base) as images:
                (image,) = await load(images, busybox_archive(base / "busybox.tar"), quiet)
                reference = Reference.parse(f"{registry.domain}/private:1")
                images.tag(image, reference)
                given = Credentials("user", "secret")
                await push(images, reference, credentials=given, progress=quiet)
                assert (await pull(images, reference, credentials=given, progress=quiet)).references
                with pytest.raises(NotFoundError, match="pull access denied") as caught:
                    await pull(images, reference, progress=quiet)
                assert f"docker login {registry.domain}" in caught.value.hint
                with pytest.raises(EngineError, match="refuses these credentials") as refused:
                    await pull(images, reference, credentials=Credentials("user", "wrong"), progress=quiet)
                assert refused.value.status == 401
        finally:
            registry.stop()

    anyio.run(main)


def test_errors_say_what_is_missing(registry, published, base):
    async def main():
        async with images_of(base) as images:
            for name, kind, words in (
                (f"{registry.domain}/tests/app:none", NotFoundError, "tests/app:none not found"),
                (f"{registry.domain}/nobody/nothing:1", NotFoundError, "not found"),
                (f"127.0.0.1:{free_port()}/a:1", TransferError, "can't be reached: .*Connection refused"),
            ):
                with pytest.raises(kind, match=words) as caught:
                    await pull(images, Reference.parse(name), progress=quiet)
                assert caught.value.hint

    anyio.run(main)


def test_mirrors_stand_for_dockers_registry_and_one_that_fails_is_passed_over(registry, published, base, monkeypatch):
    settings = base / "daemon.json"
    settings.write_text(json.dumps({"registry-mirrors": ["http://127.0.0.1:1", f"http://{registry.domain}"]}))
    monkeypatch.setenv("SKIFF_REGISTRIES", str(settings))

    async def main():
        async with images_of(base) as images:
            image = await pull(images, Reference.parse("tests/app:1"), progress=quiet)
            assert (image.id, image.references) == (published[0], ("docker.io/tests/app:1",))
            assert image.digests == (f"docker.io/tests/app@{published[1]}",)
        async with AsyncExitStack() as stack:
            mirror, tags = await Registry.first_that_answers(
                stack, "docker.io", None, lambda registry: registry.tags("tests/app")
            )
            assert "1" in tags
            assert (await mirror.manifest(Reference.parse("tests/app:1"))).digest == published[1]

    anyio.run(main)


def test_a_registry_without_tls_is_reached_where_that_was_allowed(registry, published):
    async def main():
        bases = [f"{scheme}://{registry.domain}/v2/" for scheme in ("https", "http")]
        reference = Reference.parse(f"{registry.domain}/tests/app:1")
        async with HttpClient() as http:
            found = await Registry(http, registry.domain, bases=bases).manifest(reference)
            assert found.digest == published[1]
            with pytest.raises(UnavailableError, match="TLS failed"):
                await Registry(http, registry.domain, bases=bases[:1]).manifest(reference)

    anyio.run(main)


def test_a_pull_that_does_not_fit_is_reported_and_leaves_nothing(registry, published, base):
    disk = base / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=True)

    async def main():
        reference = Reference.parse(f"{registry.domain}/tests/app:1")
        async with images_of(disk) as images:
            with pytest.raises(OSError, match="No space left") as caught:
                await pull(images, reference, progress=quiet)
            assert is_full(caught.value)
            assert blobs(images) == set()
            assert list(images.layers.known()) == []
            await anyio.run_process(["mount", "-o", "remount,size=32m", disk])
            assert (await pull(images, reference, progress=quiet)).id == published[0]

    try:
        anyio.run(main)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_parts_of_blobs_are_kept_within_a_bound_the_last_used_first(base):
    async def main():
        async with images_of(base) as images:
            digests = [f"sha256:{number:064x}" for number in range(3)]
            for second, digest in enumerate(digests):
                partial = images.content.partial(digest)
                partial.write(b"x" * 100)
                partial.close()
                os.utime(images.content.partials / digest[7:], (second, second))
            assert images.content.trim_partials([digests[0]], 150) == 100
            left = sorted(file.name for file in images.content.partials.iterdir())
            assert left == [digests[0][7:], digests[2][7:]]

    anyio.run(main)
