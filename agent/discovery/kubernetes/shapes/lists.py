"""How an API server wraps objects: lists, events, and what all objects have."""

from msgspec import Raw, Struct, field


class ListMetadata(Struct, gc=False):
    """How a list goes on, and the version that it is of."""

    version: str = field(name="resourceVersion")
    more: str = field(name="continue", default="")


class ObjectList(Struct):
    """A page of objects, none of them read yet."""

    metadata: ListMetadata
    items: list[Raw] | None = None


class Event(Struct):
    """An event of a watch, its object not read yet."""

    type: str
    object: Raw


class Identity(Struct, gc=False):
    """Which object it is, and which version of it."""

    name: str = ""
    namespace: str = ""
    version: str = field(name="resourceVersion", default="")


class Head(Struct, gc=False):
    """Of any object only what tells it from others."""

    metadata: Identity


class Owner(Struct, gc=False):
    """An entry of `ownerReferences`."""

    kind: str = ""
    name: str = ""
    controller: bool | None = None


class Metadata(Struct, gc=False):
    """`metadata` of any object."""

    name: str
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owners: list[Owner] | None = field(name="ownerReferences", default=None)


class Described(Struct, gc=False):
    """Any object, of which the metadata are enough."""

    metadata: Metadata
