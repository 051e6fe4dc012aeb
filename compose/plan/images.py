"""Which images are built or pulled before containers are made (Compose Specification, "pull_policy", "build"). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from compose.plan.operations import BuildImage, Operation, Plan, Pull
from compose.plan.platforms import platform_of
from compose.plan.project import DesiredProject, EngineState, image_name
from compose.plan.service import Service
from compose.plan.values import duration_ns
from runtime.errors import SkiffError

DAY_S = 86400.0
REFRESHED_AFTER_S = {"daily": DAY_S, "weekly": 7 * DAY_S}
ROOTFS = "rootfs:"
"""The scheme of images that are plain directories: nothing to pull."""


def plan_images(
    target: DesiredProject,
    observed: EngineState,
    names: Sequence[str],
    *,
    build: bool = False,
    no_build: bool = False,
    pull: str = "",
    now_s: float = 0.0,
) -> Plan:
    """Return the plan that builds and pulls the images of the services `names`, without those that are up to date.

    `build` and `no_build` are the flags of `up`, `pull` overrides every pull policy ("always", "missing", "never").
    Raises SkiffError for an image that is missing and may be neither built nor pulled.
    """
    found: dict[str, Operation] = {}
    for name in image_sources(target, names):
        service = target.services[name]
        image = image_name(target, name)
        if service.provider or image in found or image.startswith(ROOTFS):
            continue
        policy = pull if pull not in ("", "policy") else service.pull_policy
        is_here = image in observed.images
        if not service.build:
            reason = _why_pull(policy, is_here, observed.tagged_s.get(image), now_s)
            if not reason and (other := observed.other_platforms.get(image)):
                raise SkiffError(
                    f"service {name!r}: {image} is here for {other}, not for {platform_of(target, name)}, and its pull policy "
                    f"is {policy}",
                    "choose another pull policy, or leave the platform out",
                )
            if not reason and not is_here:
                raise SkiffError(
                    f"service {name!r}: no such image: {image}, and its pull policy is {policy}",
                    "pull or load it, or choose another pull policy",
                )
            if reason:
                if other := observed.other_platforms.get(image):
                    reason = f"it is here for {other}, not for {platform_of(target, name)}"
                found[image] = Operation(f"image {image}", Pull(), image, reason, name)
            continue
        reason = "asked for" if build or policy == "build" else "" if is_here else "the image is missing"
        if policy == "always" and service.image and not build:
            found[image] = Operation(f"image {image}", Pull(), image, "pull policy", name)
        elif no_build and not is_here:
            raise SkiffError(
                f"service {name!r}: no such image: {image}, and --no-build forbids building it",
                "leave --no-build out, or build it: `skiff build`",
            )
        elif reason and not no_build:
            operation = Operation(f"image {image}", BuildImage(), image, reason, name)
            if not build and not policy and service.image:
                # it may have been pushed by somebody who built it
                attempt = Operation(f"try {image}", Pull(may_fail=True), image, reason, name)
                found[attempt.key] = attempt
                operation = replace(operation, action=BuildImage(unless_pulled=True), after=frozenset({attempt.key}))
            found[image] = operation
    for name in names:
        for image in further_images(target, name):
            if image not in observed.images and image not in found:
                found[image] = Operation(f"image {image}", Pull(), image, "it is needed as well", name)
    return Plan.of(_with_order(target, found))


def further_images(target: DesiredProject, name: str) -> list[str]:
    """Return the images besides its own that the service needs: of hooks with containers, and mounted ones."""
    service = target.services[name]
    return [*(hook.image for hook in service.pre_start if hook.image), *mounted_images(service)]


def mounted_images(service: Service) -> list[str]:
    """Return the images that the service mounts (`type: image`)."""
    return [mount.source for mount in service.mounts if mount.type == "image" and mount.source]


def mounted_digest(service: Service, images: Mapping[str, str]) -> str:
    """Return the IDs of the images that the service mounts, as its containers' label has them; "" without any.

    `images` are IDs by name.
    """
    return ",".join(f"{name}@{images[name]}" for name in sorted(set(mounted_images(service))) if name in images)


def image_sources(target: DesiredProject, names: Sequence[str]) -> list[str]:
    """Return the services whose images the services `names` need, each once, with those that are built before it first.

    A service that only runs an image is left to the one of the project that builds it.
    """
    found: dict[str, None] = {}

    def add(name: str) -> None:
        if name in found or name not in target.services:
            return
        for base in sorted(build_bases(target, target.services[name])):
            add(base)
        found[name] = None

    builders: dict[str, str] = {}
    if any(service.get("build") for service in target.section("services").values()):  # most projects build nothing
        for name, service in target.services.items():
            if service.build and service.image:
                builders.setdefault(service.image, name)
    for name in names:
        service = target.services[name]
        for image in further_images(target, name):
            if image in builders:
                add(builders[image])
        add(name if service.build else builders.get(service.image, name))
    return list(found)


def _why_pull(policy: str, is_here: bool, tagged_s: float | None, now_s: float) -> str:
    """Return the reason to pull, "" where the image stays as it is."""
    if policy == "always":
        return "pull policy"
    after_s = refresh_s(policy)
    if after_s is not None and (tagged_s is None or tagged_s + after_s <= now_s):
        return f"pull policy {policy}"
    return "" if is_here or policy in ("never", "build") else "the image is missing"


def refresh_s(policy: str) -> float | None:
    """Return the seconds after which an image is pulled again: daily, weekly, every_<duration>; None for other policies."""
    if policy in REFRESHED_AFTER_S:
        return REFRESHED_AFTER_S[policy]
    if not policy.startswith("every_"):
        return None
    return duration_ns(policy[6:]) / 1e9


def build_bases(target: DesiredProject, service: Service) -> set[str]:
    """Return the services whose images the build of `service` starts from (additional contexts `service:x`)."""
    return _bases(service) & set(target.services)


def missing_bases(target: DesiredProject, name: str) -> set[str]:
    """Return the services that the image of the service `name` is built by or from and that were left out."""
    service = target.services[name]
    builder = "" if service.build else target.builders.get(service.image, "")
    return (_bases(service) & set(target.disabled)) | ({builder} if builder else set())


def _bases(service: Service) -> set[str]:
    contexts = service.build.contexts if service.build else {}
    return {each[8:] for each in contexts.values() if each.startswith("service:")}


def _with_order(target: DesiredProject, operations: Mapping[str, Operation]) -> list[Operation]:
    """Return `operations` with each image after those that it is built on."""
    ordered = []
    for operation in operations.values():
        bases = build_bases(target, target.services[operation.service])
        after = frozenset(f"image {image_name(target, base)}" for base in bases)
        ordered.append(replace(operation, after=operation.after | after))
    return ordered


def plan_builds(target: DesiredProject, names: Sequence[str]) -> Plan:
    """Return what builds the images of the services `names` that have a `build`, and of those that they start from."""
    found: dict[str, Operation] = {}
    waiting = list(reversed(names))
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        service = target.services[name]
        if name in seen or not service.build:
            continue
        seen.add(name)
        image = image_name(target, name)
        found.setdefault(image, Operation(f"image {image}", BuildImage(), image, "asked for", name))
        waiting += sorted(build_bases(target, service))
    return Plan.of(_with_order(target, found))


def plan_pulls(
    target: DesiredProject,
    observed: EngineState,
    names: Sequence[str],
    *,
    policy: str = "",
    ignore_buildable: bool = False,
) -> tuple[Plan, dict[str, str]]:
    """Return what pulls the images of the services `names`, and for each image that is passed over the reason."""
    found: dict[str, Operation] = {}
    skipped: dict[str, str] = {}
    for name in names:
        service = target.services[name]
        image = service.image
        own = service.pull_policy
        if not image:
            skipped[name] = "No image to be pulled"
        elif image.startswith(ROOTFS) or own in ("never", "build"):
            skipped[image] = "No image to be pulled"
        elif service.build and ignore_buildable:
            skipped[image] = "Image can be built"
        elif (policy or own) in ("missing", "if_not_present") and image in observed.images:
            skipped[image] = "Image is already present locally"
        else:
            found.setdefault(image, Operation(f"image {image}", Pull(), image, "asked for", name))
    return Plan.of(found.values()), skipped
