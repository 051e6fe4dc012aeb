"""Tar archives of made-up members, as layers come in."""

import io
import tarfile


def member(name, kind=tarfile.REGTYPE, content=b"", link="", **attributes):
    """Return a member and its content; `attributes` are those of `tarfile.TarInfo`."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content), link
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info, content


def archive(*members, format=tarfile.PAX_FORMAT):
    """Return an archive of members, as `member` gives them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return out.getvalue()
