"""Image archives as different tools write them, made by hand."""

import gzip
import hashlib
import io
import json
import tarfile


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def packed(files):
    """Return a tar archive of `files` (name → bytes)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def docker_archive(layers, names=("made:1",), config_name=None, **more):
    """Return a `docker save` archive of one image with the layers (bytes of tar archives), and the image's ID."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
        }
    ).encode()
    files = {f"{number}/layer.tar": layer for number, layer in enumerate(layers)} | more
    config_name = config_name or f"{hashlib.sha256(config).hexdigest()}.json"
    entry = {"Config": config_name, "RepoTags": list(names), "Layers": [f"{n}/layer.tar" for n in range(len(layers))]}
    return packed({**files, config_name: config, "manifest.json": json.dumps([entry]).encode()}), digest(config)


class Layout:
    """An OCI image layout that grows."""

    def __init__(self):
        self.files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
        self.manifests = []

    def blob(self, data, media_type):
        self.files["blobs/" + digest(data).replace(":", "/")] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def image(self, files, architecture="amd64", compress=gzip.compress, **config):
        """Add an image of one layer; return the descriptor of its manifest, with its platform."""
        layer = packed(files)
        document = {
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob(json.dumps(document).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": [self.blob(compress(layer), "application/vnd.oci.image.layer.v1.tar+gzip")],
        }
        found = self.blob(json.dumps(manifest).encode(), manifest["mediaType"])
        return {**found, "platform": {"os": "linux", "architecture": architecture}}

    def attestation(self, of):
        """Add an attestation of the image `of`; return its descriptor."""
        config = self.blob(b"{}", "application/vnd.oci.image.config.v1+json")
        statement = self.blob(b"{}", "application/vnd.in-toto+json")
        found = self.blob(json.dumps({"config": config, "layers": [statement]}).encode(), of["mediaType"])
        notes = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": of["digest"]}
        return {**found, "platform": {"os": "unknown", "architecture": "unknown"}, "annotations": notes}

    def index(self, *manifests):
        """Add an index; return its descriptor."""
        document = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
        return self.blob(json.dumps(document).encode(), document["mediaType"])

    def list(self, descriptor, **annotations):
        """List a descriptor in index.json, with annotations (`__` stands for a dot)."""
        notes = {name.replace("__", "."): value for name, value in annotations.items()}
        self.manifests.append({**descriptor, "annotations": {**descriptor.get("annotations", {}), **notes}})

    def archive(self):
        """Return the layout as a tar archive."""
        index = json.dumps({"schemaVersion": 2, "manifests": self.manifests}).encode()
        return packed({**self.files, "index.json": index})
