"""The documents of the OCI runtime specification, as types; for type checkers alone.

`runtime.oci.program.shape` has the same as data, by which documents of others are checked. Source: OCI runtime
specification, config.md, config-linux.md.
"""

from __future__ import annotations

from typing import Any, Required, TypedDict


class OciIdMapping(TypedDict, total=False):
    """A range of IDs of a user namespace."""

    containerID: int
    hostID: int
    size: Required[int]


class OciConsoleSize(TypedDict, total=False):
    """The size of a process's terminal, in characters."""

    height: int
    width: int


class OciUser(TypedDict, total=False):
    """Who a process runs as."""

    uid: int
    gid: int
    umask: int
    additionalGids: list[int]


class OciRlimit(TypedDict, total=False):
    """A limit of a process (setrlimit(2)), such as RLIMIT_NOFILE."""

    type: Required[str]
    soft: int
    hard: int


class OciScheduler(TypedDict, total=False):
    """How a process is scheduled (sched_setattr(2))."""

    policy: Required[str]
    nice: int
    priority: int
    flags: list[str]
    runtime: int
    deadline: int
    period: int


class OciProcess(TypedDict, total=False):
    """config.md, "Process"."""

    terminal: bool
    consoleSize: OciConsoleSize
    cwd: str
    env: list[str]
    args: list[str]
    user: OciUser
    capabilities: dict[str, list[str]]
    rlimits: list[OciRlimit]
    noNewPrivileges: bool
    oomScoreAdj: int | None
    apparmorProfile: str
    selinuxLabel: str
    scheduler: OciScheduler
    ioPriority: dict[str, Any]
    execCPUAffinity: dict[str, str]


class OciMount(TypedDict, total=False):
    """config.md, "Mounts".

    Ours: `mount` is the descriptor of a mount that is a clone already, `namespace` the file of the mount namespace that `source`
    is in, `subpath` what is mounted of it.
    """

    mount: int
    namespace: str
    subpath: str
    destination: Required[str]
    type: str
    source: str
    options: list[str]
    uidMappings: list[OciIdMapping]
    gidMappings: list[OciIdMapping]


class OciHook(TypedDict, total=False):
    """A program that is run at one point of a container's life (config.md, "POSIX-platform Hooks")."""

    path: Required[str]
    args: list[str]
    env: list[str]
    timeout: int


class OciRoot(TypedDict, total=False):
    """config.md, "Root"."""

    path: Required[str]
    readonly: bool


class OciPreforkTemplate(TypedDict, total=False):
    """Ours: what the keeper's preforked children set up in advance."""

    mounts: list[OciMount]
    maskedPaths: list[str]
    readonlyPaths: list[str]
    devices: list[OciDeviceRule]


class OciDeviceNumber(TypedDict, total=False):
    """Type ("b", "c"), major and minor number of a device."""

    type: Required[str]
    major: int
    minor: int


class OciDeviceRule(TypedDict, total=False):
    """A rule of the device filter (config-linux.md, "Allowed Device list")."""

    allow: Required[bool]
    type: str
    major: int
    minor: int
    access: str


class OciMemory(TypedDict, total=False):
    """config-linux.md, "Memory"."""

    limit: int
    reservation: int
    swap: int
    kernel: int
    kernelTCP: int
    swappiness: int
    disableOOMKiller: bool
    useHierarchy: bool
    checkBeforeUpdate: bool


class OciCpu(TypedDict, total=False):
    """config-linux.md, "CPU"."""

    shares: int
    quota: int
    burst: int
    period: int
    realtimeRuntime: int
    realtimePeriod: int
    idle: int
    cpus: str
    mems: str


class OciResources(TypedDict, total=False):
    """config-linux.md, "Control groups"."""

    devices: list[OciDeviceRule]
    memory: OciMemory
    cpu: OciCpu
    pids: dict[str, int]
    blockIO: dict[str, Any]
    hugepageLimits: list[dict[str, Any]]
    network: dict[str, Any]
    rdma: dict[str, dict[str, int]]
    unified: dict[str, str]


class OciSeccompArgument(TypedDict, total=False):
    """What an argument of a system call is compared with."""

    index: Required[int]
    value: int
    valueTwo: int
    op: Required[str]


class OciSeccompRule(TypedDict, total=False):
    """What happens to system calls."""

    names: Required[list[str]]
    action: Required[str]
    errnoRet: int
    args: list[OciSeccompArgument]


class OciSeccomp(TypedDict, total=False):
    """config-linux.md, "Seccomp"."""

    defaultAction: Required[str]
    defaultErrnoRet: int
    architectures: list[str]
    flags: list[str]
    listenerPath: str
    listenerMetadata: str
    syscalls: list[OciSeccompRule]


class OciNamespace(TypedDict, total=False):
    """A namespace: a new one, or that of a path (config-linux.md, "Namespaces")."""

    type: Required[str]
    path: str


class OciDevice(TypedDict, total=False):
    """A device that is created in the container (config-linux.md, "Devices")."""

    type: Required[str]
    path: Required[str]
    major: int
    minor: int
    fileMode: int
    uid: int
    gid: int


class OciLinux(TypedDict, total=False):
    """config-linux.md."""

    namespaces: list[OciNamespace]
    uidMappings: list[OciIdMapping]
    gidMappings: list[OciIdMapping]
    timeOffsets: dict[str, dict[str, int]]
    devices: list[OciDevice]
    netDevices: dict[str, dict[str, str]]
    cgroupsPath: str
    resources: OciResources
    rootfsPropagation: str
    maskedPaths: list[str]
    readonlyPaths: list[str]
    seccomp: Any
    """OciSeccomp; between engine and keeper the program that it was compiled to."""
    sysctl: dict[str, str]
    mountLabel: str
    personality: dict[str, Any]
    intelRdt: dict[str, Any]
    memoryPolicy: dict[str, Any]


class OciSpec(TypedDict, total=False):
    """config.md: what a container is created from."""

    ociVersion: Required[str]
    process: Required[OciProcess]
    root: Required[OciRoot]
    hostname: str
    domainname: str
    mounts: list[OciMount]
    hooks: dict[str, list[OciHook]]
    annotations: dict[str, str]
    linux: OciLinux
