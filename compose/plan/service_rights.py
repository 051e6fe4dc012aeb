"""What a service's containers may do and use: namespaces, rights, devices and limits. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from compose.plan.parts import DeviceRequest, ResourceLimits, Ulimit, ulimits
from compose.plan.values import nano_cpus, whole


class ServiceDocument:
    """The document of a service, and how attributes are read from it."""

    def __init__(self, name: str, document: Mapping[str, Any]) -> None:
        self.name = name
        self.document = document

    def _text(self, key: str) -> str:
        return str(self.document.get(key) or "")

    def _texts(self, key: str) -> Sequence[str]:
        return self.document.get(key) or ()

    def _mapping(self, key: str) -> Mapping[str, Any]:
        return self.document.get(key) or {}


class ServiceRights(ServiceDocument):
    """The attributes of a service that are about rights and resources."""

    # --- namespaces and rights

    def namespace(self, key: str) -> str:
        """Return the mode of a namespace: `key` is "network_mode", "pid", "ipc", "uts", "userns_mode" or "cgroup"."""
        return self._text(key)

    @property
    def is_privileged(self) -> bool:
        """Whether it has all rights."""
        return bool(self.document.get("privileged"))

    @property
    def cap_add(self) -> Sequence[str] | None:
        """Capabilities that it has beyond the usual."""
        return self.document.get("cap_add")

    @property
    def cap_drop(self) -> Sequence[str] | None:
        """Capabilities that it lacks of the usual."""
        return self.document.get("cap_drop")

    @property
    def group_add(self) -> Sequence[str]:
        """Further groups of the process."""
        return [str(group) for group in self.document.get("group_add") or ()]

    @property
    def security_opt(self) -> Sequence[str]:
        """Security options."""
        return self._texts("security_opt")

    @property
    def sysctls(self) -> Mapping[str, str]:
        """Kernel parameters of its namespaces."""
        return {key: str(value) for key, value in self._mapping("sysctls").items()}

    @property
    def runtime(self) -> str:
        """The OCI runtime."""
        return self._text("runtime")

    @property
    def annotations(self) -> Mapping[str, str] | None:
        """Annotations for the OCI runtime."""
        return self.document.get("annotations")

    @property
    def cgroup_parent(self) -> str:
        """The cgroup that its containers' lie in."""
        return self._text("cgroup_parent")

    # --- devices and limits

    @property
    def devices(self) -> Sequence[Mapping[str, str]]:
        """Device files: source, target, permissions."""
        return [device for device in self.document.get("devices") or () if isinstance(device, Mapping)]

    @property
    def device_cgroup_rules(self) -> Sequence[str] | None:
        """Rules of the device cgroup."""
        return self.document.get("device_cgroup_rules")

    @property
    def device_requests(self) -> Sequence[DeviceRequest]:
        """Devices asked for by what they can do (`gpus`, `deploy.resources.reservations.devices`)."""
        gpus = [DeviceRequest.of(gpu, "gpu") for gpu in self.document.get("gpus") or ()]
        return [*(DeviceRequest.of(each) for each in self.reservations.devices), *gpus]

    @property
    def _deploy(self) -> Mapping[str, Any]:
        return self._mapping("deploy")

    @cached_property
    def limits(self) -> ResourceLimits:
        """`deploy.resources.limits`."""
        return ResourceLimits.of((self._deploy.get("resources") or {}).get("limits"))

    @cached_property
    def reservations(self) -> ResourceLimits:
        """`deploy.resources.reservations`."""
        return ResourceLimits.of((self._deploy.get("resources") or {}).get("reservations"))

    @property
    def ulimits(self) -> Sequence[Ulimit]:
        """Limits of the process."""
        return ulimits(self.document.get("ulimits"))

    @property
    def memory_bytes(self) -> int:
        """The most memory: `mem_limit`, else that of `deploy`."""
        return self.number("mem_limit") or self.limits.memory_bytes

    @property
    def memory_reservation_bytes(self) -> int:
        """The memory that it keeps under pressure: `mem_reservation`, else that of `deploy`."""
        return self.number("mem_reservation") or self.reservations.memory_bytes

    @property
    def nano_cpus(self) -> int:
        """The most CPUs in billionths: `cpus`, else that of `deploy`."""
        return nano_cpus(self.document.get("cpus")) or self.limits.nano_cpus

    @property
    def pids_limit(self) -> int:
        """The most processes: `pids_limit`, else that of `deploy`."""
        return self.document.get("pids_limit") or self.limits.pids

    @property
    def cpuset(self) -> str:
        """The CPUs that it may run on."""
        return self._text("cpuset")

    @property
    def block_io(self) -> Mapping[str, Any]:
        """Weights and rates of block devices (`blkio_config`)."""
        return self._mapping("blkio_config")

    @property
    def oom_score_adj(self) -> int | None:
        """How soon it is killed when memory runs out."""
        return self.document.get("oom_score_adj")

    @property
    def is_oom_kill_disabled(self) -> bool:
        """Whether it waits instead of being killed when memory runs out."""
        return bool(self.document.get("oom_kill_disable"))

    def number(self, key: str) -> int:
        """Return a size in bytes, or a count, that is an attribute of its own: "shm_size", "cpu_shares" …; 0 for none."""
        return whole(self.document.get(key))
