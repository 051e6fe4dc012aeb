"""The JSON documents of the Docker Engine API that clients send, as types: what they may have, and what it is.

A member that is missing was not given; null is the same (`runtime.shapes` removes it). Source: Docker Engine API,
definitions of the same names.
"""

from __future__ import annotations

from typing import Annotated, TypedDict

Words = Annotated[list[str], "a string or an array of strings"]
"""Words that may be sent as one string."""


class Empty(TypedDict, total=False):
    """An object of which only the name counts."""


class EndpointIpamConfig(TypedDict, total=False):
    """The addresses that an endpoint asks for."""

    IPv4Address: str
    IPv6Address: str
    LinkLocalIPs: list[str]


class EndpointBody(TypedDict, total=False):
    """What a container asks of a network."""

    Aliases: list[str]
    DriverOpts: dict[str, str]
    GwPriority: int
    IPAMConfig: EndpointIpamConfig
    Links: list[str]
    MacAddress: str


class HealthConfig(TypedDict, total=False):
    """A health check; times in nanoseconds."""

    Test: list[str]
    Interval: int
    Timeout: int
    Retries: int
    StartPeriod: int
    StartInterval: int


class ContainerConfig(TypedDict, total=False):
    """What an image says of its containers, and what a container is created with."""

    Hostname: str
    Domainname: str
    User: str
    AttachStdin: bool
    AttachStdout: bool
    AttachStderr: bool
    ExposedPorts: dict[str, Empty]
    Tty: bool
    OpenStdin: bool
    StdinOnce: bool
    Env: list[str]
    Cmd: Words
    Entrypoint: Words
    Healthcheck: HealthConfig
    Image: str
    Volumes: dict[str, Empty]
    WorkingDir: str
    NetworkDisabled: bool
    MacAddress: str
    OnBuild: list[str]
    Labels: dict[str, str]
    StopSignal: str
    StopTimeout: int
    Shell: list[str]


class RootFs(TypedDict, total=False):
    """The layers of an image, by diff ID."""

    type: str
    diff_ids: list[str]


class History(TypedDict, total=False):
    """One step of an image's history."""

    created: str
    created_by: str
    comment: str
    author: str
    empty_layer: bool


class ImageConfig(TypedDict, total=False):
    """An image's configuration (OCI image configuration, "Properties")."""

    architecture: str
    os: str
    variant: str
    created: str
    author: str
    config: ContainerConfig
    rootfs: RootFs
    history: list[History]


class BindOptions(TypedDict, total=False):
    """Options of a mount of the type bind."""

    Propagation: str
    NonRecursive: bool
    CreateMountpoint: bool
    ReadOnlyNonRecursive: bool
    ReadOnlyForceRecursive: bool


class DriverConfig(TypedDict, total=False):
    """The driver of a volume that a mount creates."""

    Name: str
    Options: dict[str, str]


class VolumeOptions(TypedDict, total=False):
    """Options of a mount of the type volume."""

    NoCopy: bool
    Labels: dict[str, str]
    DriverConfig: DriverConfig
    Subpath: str


class TmpfsOptions(TypedDict, total=False):
    """Options of a mount of the type tmpfs."""

    SizeBytes: int
    Mode: int
    Options: list[list[str]]


class ImageMountOptions(TypedDict, total=False):
    """Options of a mount of the type image."""

    Subpath: str


class MountBody(TypedDict, total=False):
    """A mount that a container asks for."""

    Target: str
    Source: str
    Type: str
    ReadOnly: bool
    Consistency: str
    BindOptions: BindOptions
    VolumeOptions: VolumeOptions
    TmpfsOptions: TmpfsOptions
    ImageOptions: ImageMountOptions


class DeviceMapping(TypedDict, total=False):
    """A device of the host in a container."""

    PathOnHost: str
    PathInContainer: str
    CgroupPermissions: str


class DeviceRequestBody(TypedDict, total=False):
    """A request to a device driver."""

    Driver: str
    Count: int
    DeviceIDs: list[str]
    Capabilities: list[list[str]]
    Options: dict[str, str]


class WeightDevice(TypedDict, total=False):
    """The weight of a block device."""

    Path: str
    Weight: int


class ThrottleDevice(TypedDict, total=False):
    """A limit of a block device, in bytes or operations per second."""

    Path: str
    Rate: int


class UlimitBody(TypedDict, total=False):
    """A limit of processes (setrlimit(2))."""

    Name: str
    Soft: int
    Hard: int


class RestartPolicyBody(TypedDict, total=False):
    """When an exited container is restarted."""

    Name: str
    MaximumRetryCount: int


class Resources(TypedDict, total=False):
    """Limits of a container; they can be changed while it runs ("Update a container")."""

    CpuShares: int
    Memory: int
    CgroupParent: str
    BlkioWeight: int
    CpuPeriod: int
    CpuQuota: int
    CpuRealtimePeriod: int
    CpuRealtimeRuntime: int
    CpusetCpus: str
    CpusetMems: str
    NanoCpus: int
    Devices: list[DeviceMapping]
    DeviceCgroupRules: list[str]
    DeviceRequests: list[DeviceRequestBody]
    BlkioWeightDevice: list[WeightDevice]
    BlkioDeviceReadBps: list[ThrottleDevice]
    BlkioDeviceWriteBps: list[ThrottleDevice]
    BlkioDeviceReadIOps: list[ThrottleDevice]
    BlkioDeviceWriteIOps: list[ThrottleDevice]
    MemoryReservation: int
    MemorySwap: int
    MemorySwappiness: int
    OomKillDisable: bool
    PidsLimit: int
    Ulimits: list[UlimitBody]
    RestartPolicy: RestartPolicyBody


class LogConfig(TypedDict, total=False):
    """A log driver and its options."""

    Type: str
    Config: dict[str, str]


class PortBindingBody(TypedDict, total=False):
    """An address of the host that a port is published at; no port means any."""

    HostIp: str
    HostPort: str


class HostConfig(Resources, total=False):
    """What a container asks of the host."""

    Binds: list[str]
    ContainerIDFile: str
    LogConfig: LogConfig
    NetworkMode: str
    PortBindings: dict[str, list[PortBindingBody]]
    AutoRemove: bool
    VolumeDriver: str
    VolumesFrom: list[str]
    Mounts: list[MountBody]
    ConsoleSize: list[int]
    Annotations: dict[str, str]
    CapAdd: list[str]
    CapDrop: list[str]
    CgroupnsMode: str
    Dns: list[str]
    DnsOptions: list[str]
    DnsSearch: list[str]
    ExtraHosts: list[str]
    GroupAdd: list[str]
    IpcMode: str
    Links: list[str]
    OomScoreAdj: int
    PidMode: str
    Privileged: bool
    PublishAllPorts: bool
    ReadonlyRootfs: bool
    SecurityOpt: list[str]
    StorageOpt: dict[str, str]
    Tmpfs: dict[str, str]
    UTSMode: str
    Umask: int
    UsernsMode: str
    ShmSize: int
    Sysctls: dict[str, str]
    Runtime: str
    Isolation: str
    MaskedPaths: list[str]
    ReadonlyPaths: list[str]
    Init: bool


class NetworkingConfig(TypedDict, total=False):
    """The networks of a new container, by name."""

    EndpointsConfig: dict[str, EndpointBody]


class CreateBody(ContainerConfig, total=False):
    """The body of "Create a container"."""

    HostConfig: HostConfig
    NetworkingConfig: NetworkingConfig


class ExecConfig(TypedDict, total=False):
    """The body of "Create an exec instance"."""

    AttachStdin: bool
    AttachStdout: bool
    AttachStderr: bool
    ConsoleSize: list[int]
    DetachKeys: str
    Tty: bool
    Env: list[str]
    Cmd: list[str]
    Privileged: bool
    User: str
    WorkingDir: str


class ExecStart(TypedDict, total=False):
    """The body of "Start an exec instance"."""

    Detach: bool
    Tty: bool
    ConsoleSize: list[int]


class ConfigReference(TypedDict, total=False):
    """The configuration-only network that a network takes its settings from."""

    Network: str


class IpamPool(TypedDict, total=False):
    """A subnet of a network."""

    Subnet: str
    IPRange: str
    Gateway: str
    AuxiliaryAddresses: dict[str, str]


class Ipam(TypedDict, total=False):
    """How a network's addresses are chosen."""

    Driver: str
    Options: dict[str, str]
    Config: list[IpamPool]


class NetworkBody(TypedDict, total=False):
    """The body of "Create a network"."""

    Name: str
    Driver: str
    Scope: str
    Internal: bool
    Attachable: bool
    Ingress: bool
    ConfigOnly: bool
    ConfigFrom: ConfigReference
    EnableIPv4: bool
    EnableIPv6: bool
    Options: dict[str, str]
    Labels: dict[str, str]
    IPAM: Ipam


class ConnectBody(TypedDict, total=False):
    """The body of "Connect a container to a network"."""

    Container: str
    EndpointConfig: EndpointBody


class DisconnectBody(TypedDict, total=False):
    """The body of "Disconnect a container from a network"."""

    Container: str
    Force: bool


class VolumeBody(TypedDict, total=False):
    """The body of "Create a volume"."""

    Name: str
    Driver: str
    DriverOpts: dict[str, str]
    Labels: dict[str, str]


class Authentication(TypedDict, total=False):
    """The body of "Check auth configuration", and the content of X-Registry-Auth."""

    username: str
    password: str
    email: str
    serveraddress: str
    identitytoken: str


class Artifact(TypedDict, total=False):
    """An OCI artifact to be pushed: its manifest and blobs, in base64."""

    mediaType: str
    manifest: str
    blobs: dict[str, str]


class HostPortBody(TypedDict, total=False):
    """An address of the host, and "tcp", "udp" or "sctp"."""

    HostIp: str
    HostPort: str
    Protocol: str


class PortsCheck(TypedDict, total=False):
    """The body of our check whether host ports are available."""

    bindings: list[HostPortBody]


class FilesRemoval(TypedDict, total=False):
    """The body of our removal of files of a container: their absolute paths in it."""

    paths: list[str]
