"""A small project, and what an engine could have of it."""

import copy

from compose.plan import project as labels
from compose.plan.hashes import service_digest
from compose.plan.project import DesiredProject, EngineState, ObservedContainer

MODEL = {
    "name": "shop",
    "services": {
        "web": {
            "image": "web:1",
            "depends_on": {"db": {"condition": "service_healthy", "required": True}},
            "networks": {"default": None},
            "ports": [{"target": 80, "published": "8080", "protocol": "tcp"}],
        },
        "db": {
            "image": "db:1",
            "networks": {"default": None},
            "volumes": [{"type": "volume", "source": "data", "target": "/data"}],
        },
    },
    "networks": {"default": {"name": "shop_default"}},
    "volumes": {"data": {"name": "shop_data"}},
}
IMAGES = {"web:1": "sha256:web", "db:1": "sha256:db"}


def target(changed=None, **options):
    """The shop; `changed(model)` may change a copy of its model first."""
    model = copy.deepcopy(MODEL)
    if changed is not None:
        changed(model)
    return DesiredProject("shop", model, "/shop", ("/shop/compose.yaml",), **options)


TARGET = target()


def existing(service, number=1, state="running", document=None, **changed):
    """A container that `up` made of the shop as it is in MODEL, but for `changed` labels and `document` keys."""
    held = {
        labels.PROJECT: "shop",
        labels.SERVICE: service,
        labels.NUMBER: str(number),
        labels.ONEOFF: "False",
        labels.CONFIG_HASH: service_digest(MODEL["services"][service]) if service in MODEL["services"] else "x",
        labels.IMAGE: IMAGES.get(f"{service}:1", ""),
        labels.DEPENDS_ON: "db:service_healthy:false" if service == "web" else "",
        **changed,
    }
    return ObservedContainer.of(
        {
            "Id": f"{service}{number}",
            "Names": [f"/shop-{service}-{number}"],
            "State": state,
            "Labels": held,
            "NetworkSettings": {"Networks": {"shop_default": {"NetworkID": "shop_default"}}},
            "Mounts": [{"Type": "volume", "Name": "shop_data"}] if service == "db" else [],
            **(document or {}),
        }
    )


def observed(*containers, networks=("shop_default",), volumes=("shop_data",), images=None, tagged_s=None):
    """What an engine has: containers of the shop, its networks and volumes, and images."""
    own = {labels.PROJECT: "shop"}
    return EngineState(
        containers,
        {name: {"Id": name, "Labels": {**own, labels.NETWORK: name.removeprefix("shop_")}} for name in networks},
        {name: {"Labels": {**own, labels.VOLUME: name.removeprefix("shop_")}} for name in volumes},
        IMAGES if images is None else images,
        tagged_s or {},
    )
