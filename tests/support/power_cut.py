"""What a power cut leaves of a state root, found without one: from a trace of the engine's system calls (strace(1)).

The trace is replayed into a model of a file system that separates what is on the disk from what is only in the kernel's
memory (POSIX, fsync): a file's bytes are on the disk once it was fsynced, an entry of a directory once the directory
was. At any moment the model says what a machine that loses its power then finds at its next start.
"""

import os
import re
import subprocess
from dataclasses import dataclass, field

CALLS = (
    "openat,creat,write,pwrite64,writev,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,link,linkat,"
    "symlink,symlinkat,fsync,fdatasync,syncfs,sync,ftruncate,truncate,copy_file_range,sendfile,sendto,sendmsg"
)
LARGE_BYTES = 1 << 16
_LINE = re.compile(r"(\d+) +(.*)", re.DOTALL)
_FD = r"(?:-?\d+|AT_FDCWD)<((?:[^<>\\]|\\.)*)>"
_TEXT = r'"((?:\\x[0-9a-f]{2})*)"'


class Tracer:
    """Traces the processes of an engine that runs; `stop` gives the calls in the order in which they returned."""

    def __init__(self, pid, output):
        self._output = output
        self._process = subprocess.Popen(
            ["strace", "-f", "-p", str(pid), "-y", "-xx", "-s", "16777216", "-e", f"trace={CALLS}", "-o", output],
            stderr=subprocess.PIPE,
        )
        # it says when it has attached to each thread
        self.said = self._process.stderr.readline()

    def stop(self):
        self._process.terminate()
        self._process.communicate()
        return list(_calls(self._output))


def _calls(path):
    begun = {}
    with open(path) as trace:
        for line in trace:
            pid, text = _LINE.match(line.rstrip("\n")).groups()
            if text.endswith("<unfinished ...>"):
                begun[pid] = text.removesuffix("<unfinished ...>").rstrip()
                continue
            if text.startswith("<... "):
                text = begun.pop(pid, "") + text.partition("resumed>")[2]
            if (name := re.match(r"(\w+)\(", text)) and " = -1 " not in text[-200:]:
                yield name[1], text


def _bytes(text):
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass
class File:
    data: bytearray = field(default_factory=bytearray)
    durable: bytes | None = None
    """What is on the disk of it; None: nothing at all."""
    source: str | None = None
    """Where it is, for a large file or a layer that was there before."""


@dataclass
class Directory:
    entries: dict = field(default_factory=dict)
    durable: dict = field(default_factory=dict)


class Disk:
    """The model of the file system below `root`; what is there now is on the disk."""

    def __init__(self, root):
        self.root = str(root)
        self.top = self._read(self.root)

    def _read(self, path):
        if os.path.islink(path) or not os.path.isdir(path) or os.path.dirname(path) == f"{self.root}/layers":
            if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > LARGE_BYTES:
                return File(source=path)
            with open(path, "rb") as file:
                data = file.read()
            return File(bytearray(data), data)
        entries = {name: self._read(os.path.join(path, name)) for name in os.listdir(path)}
        return Directory(entries, dict(entries))

    # --- the calls

    def apply(self, name, text):
        """Do what a traced call did; return whether it changed anything below the root."""
        if name in ("write", "pwrite64", "writev"):
            return self._write(name, text)
        if name in ("copy_file_range", "sendfile"):
            return self._copy(name, text)
        if name in ("fsync", "fdatasync"):
            return self._sync(self._at(re.search(_FD, text)[1]))
        if name in ("syncfs", "sync"):
            self._sync_all(self.top)
            return True
        if name == "openat":
            return self._open(text)
        if name in ("ftruncate", "truncate"):
            return self._truncate(text)
        return self._entries_change(name, text)

    def _write(self, name, text):
        found = re.match(rf"{name}\({_FD}, ", text)
        node = self._at(found[1]) if found else None
        if not isinstance(node, File):
            return False
        data = b"".join(_bytes(one) for one in re.findall(_TEXT, text))
        if name == "pwrite64":
            offset = int(re.search(r", (\d+)\) += \d+$", text)[1])
            node.data[offset : offset + len(data)] = data
        else:  # every file of ours is written from its beginning to its end, or appended to
            node.data += data
        return True

    def _copy(self, name, text):
        source, target = (self._at(shown) for shown in re.findall(_FD, text)[:: 1 if name == "copy_file_range" else -1])
        if not isinstance(target, File):
            return False
        assert isinstance(source, File), text
        begin = len(target.data)  # from beginning to end, as all that is copied here
        target.data += source.data[begin : begin + int(text.rpartition("= ")[2])]
        return True

    def _open(self, text):
        found = re.match(rf"openat\({_FD}, {_TEXT}, (\S+)", text)
        path = os.path.join(_path(found[1]), os.fsdecode(_bytes(found[2])))
        parent, name = self._parent(path)
        if parent is None or "O_CREAT" not in found[3] or name in parent.entries or "O_TMPFILE" in found[3]:
            return False
        parent.entries[name] = File()
        return True

    def _truncate(self, text):
        found = re.search(rf"{_FD}, (\d+)\)", text)
        node = self._at(found[1]) if found else None
        if not isinstance(node, File):
            return False
        size = int(found[2])
        del node.data[size:]
        node.data += bytes(size - len(node.data))
        return True

    def _entries_change(self, name, text):
        if name not in (
            "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "link", "linkat"
        ):  # fmt: skip
            return False
        directories, texts = re.findall(_FD, text), [os.fsdecode(_bytes(one)) for one in re.findall(_TEXT, text)]
        bases = [_path(one) for one in directories] or ["/"] * len(texts)
        paths = [os.path.join(base, one) for base, one in zip(bases, texts, strict=False)]
        parent, last = self._parent(paths[0])
        if parent is None:
            return False
        if name in ("mkdir", "mkdirat"):
            parent.entries[last] = Directory()
        elif name in ("unlink", "unlinkat", "rmdir"):
            parent.entries.pop(last, None)
        else:
            node = parent.entries[last]
            if name.startswith("rename"):
                del parent.entries[last]
            other, new = self._parent(paths[1])
            if other is not None:
                other.entries[new] = node
        return True

    def _sync(self, node):
        if isinstance(node, Directory):
            node.durable = dict(node.entries)
        elif isinstance(node, File):
            node.durable = bytes(node.data)
        return node is not None

    def _sync_all(self, node):
        self._sync(node)
        if isinstance(node, Directory):
            for child in node.entries.values():
                self._sync_all(child)

    def _at(self, shown):
        return self._find(_path(shown))

    def _parent(self, path):
        path = os.path.normpath(path)
        parent = self._find(os.path.dirname(path))
        return (parent, os.path.basename(path)) if isinstance(parent, Directory) else (None, "")

    def _find(self, path):
        if not f"{path}/".startswith(f"{self.root}/"):
            return None
        node = self.top
        for part in path[len(self.root) :].split("/"):
            if part:
                node = node.entries.get(part) if isinstance(node, Directory) else None
                if node is None:
                    return None
        return node

    # --- the cuts

    def after_cut(self, target, kind):
        """Write to `target` what a machine finds that loses its power now, as one `kind` of file system leaves it.

        "strict": what was not synced is not there; "empty": files have their names, their bytes are missing; "torn": of
        bytes that were not synced half are there; "lucky": all is there.
        """
        _write(self.top, str(target), kind)


def _path(shown):
    text = _bytes(shown).decode() if shown.startswith("\\x") else shown
    return text.removesuffix("(deleted)").rstrip()


def _write(node, target, kind):
    if isinstance(node, Directory):
        os.makedirs(target, exist_ok=True)
        for name, child in (node.durable if kind == "strict" else node.entries).items():
            _write(child, os.path.join(target, name), kind)
        return
    if node.source is not None:
        if os.path.lexists(node.source):
            os.symlink(node.source, target)
        return
    durable = node.durable or b""
    data = bytes(node.data)
    if kind == "lucky":
        durable = data
    elif kind == "torn":
        durable = data[: (len(durable) + len(data)) // 2] if data.startswith(durable) else durable
    with open(target, "wb") as file:
        file.write(durable)
