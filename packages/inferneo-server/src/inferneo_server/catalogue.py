"""Receives the names of models; hands on the models, and what is told of them."""

from collections.abc import Iterable, Iterator

from msgspec import UNSET
from msgspec.structs import replace

from inferneo_core.errors import InvalidRequest, ModelNotFound
from inferneo_core.models import Model, ModelStatus
from inferneo_server.hardware.device import Device
from inferneo_server.model_spec import ModelSpec
from inferneo_server.served_model import ServedModel


class Catalogue:
    """The models of a server by their names and aliases, in the order in which they came.

    Args:
        models: the configured ones; the first one is the default, and stays it.
    """

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self._models: dict[str, ServedModel] = {}
        self._names: dict[str, ServedModel] = {}
        self._adapters: dict[str, ServedModel] = {}
        for model in models:
            self.add(model)
        self.default = next(iter(self._models.values()))

    def __iter__(self) -> Iterator[ServedModel]:
        # A copy: metrics are read by another thread, and models come and go.
        return iter(tuple(self._models.values()))

    def __contains__(self, model: ServedModel) -> bool:
        return self._models.get(model.spec.name) is model

    @property
    def names(self) -> list[str]:
        """The names of all models and of their adapters."""
        return [*self._models, *self._adapters]

    def get(self, name: str) -> ServedModel | None:
        """The model of that name or alias, if there is one."""
        return self._names.get(name)

    def find(self, name: str | None) -> ServedModel:
        """The model of that name or alias; no name means the default one.

        Raises:
            ModelNotFound: there is none.
            InvalidRequest: it is an adapter's name.
        """
        model = self.default if name is None else self._names.get(name)
        if model is None:
            if name in self._adapters:
                whose = self._adapters[name].spec.name
                raise InvalidRequest(
                    f"'{name}' is an adapter: it comes and goes with its model '{whose}'",
                    param="model",
                )
            raise ModelNotFound(str(name), self.names)
        return model

    def serving(self, name: str | None) -> ServedModel:
        """The model that answers requests for that name: as `find`, or whose adapter it is.

        Raises:
            ModelNotFound: there is none.
        """
        return self._adapters[name] if name in self._adapters else self.find(name)

    def called(self, name: str | None) -> str:
        """What answers to requests for that name carry.

        Raises:
            ModelNotFound: there is no such model.
        """
        return name if name in self._adapters else self.find(name).spec.name

    def check_names(self, spec: ModelSpec) -> None:
        """Refuse names that are another model's.

        Raises:
            InvalidRequest: one of them is.
        """
        for name in spec.names:
            other = self._names.get(name) or self._adapters.get(name)
            if other is not None and other.spec.name != spec.name:
                raise InvalidRequest(
                    f"'{name}' is a name of the model '{other.spec.name}'",
                    param=_field_of(name, spec),
                )

    def add(self, model: ServedModel) -> None:
        """Take a model in."""
        self._models[model.spec.name] = model
        self.rename(model)

    def rename(self, model: ServedModel) -> None:
        """Have the names of a model be those that it has now."""
        self._forget_names(model)
        self._names |= dict.fromkeys((model.spec.name, *model.spec.aliases), model)
        self._adapters |= dict.fromkeys(model.spec.lora_modules, model)

    def remove(self, model: ServedModel) -> None:
        """Forget a model."""
        self._models.pop(model.spec.name, None)
        self._forget_names(model)

    def _forget_names(self, model: ServedModel) -> None:
        for names in (self._names, self._adapters):
            for name in [name for name, known in names.items() if known is model]:
                del names[name]


def _field_of(name: str, spec: ModelSpec) -> str:
    """Where a model has a name from."""
    if name == spec.name:
        return "name"
    return "aliases" if name in spec.aliases else "lora_modules"


def listed(model: ServedModel) -> bool:
    """Whether a model can be asked for: it was loaded once, or is loaded when it is."""
    return model.created is not None or model.spec.load == "on_first_use"


def told(model: ServedModel) -> list[Model]:
    """What everyone may know of a model, and of its adapters."""
    spec = model.spec
    own = Model(
        id=spec.name,
        root=spec.root,
        created=model.created or 0,
        max_model_len=model.last.max_model_len if model.last else UNSET,
        status=model.state,
        aliases=list(spec.aliases),
    )
    adapters = (
        replace(own, id=name, root=spec.root_of(name), parent=spec.name, aliases=[])
        for name in spec.lora_modules
    )
    return [own, *adapters]


def status_of(model: ServedModel) -> ModelStatus:
    """What an administrator may know of a model."""
    spec, lease = model.spec, model.newest
    return ModelStatus(
        id=spec.name,
        status=model.state,
        device=address(lease.device) if lease else spec.device,
        engine=spec.engine,
        root=spec.root,
        aliases=list(spec.aliases),
        tasks=sorted(lease.tasks) if lease else [],
        max_model_len=lease.max_model_len if lease else None,
        loaded_at=lease.loaded_at if lease else None,
        load=spec.load,
        idle_seconds=spec.idle_seconds,
        memory_bytes=lease.memory if lease else 0,
        running=model.running,
        error=model.error,
    )


def address(device: Device) -> str:
    """A device with its number, as answers tell it: `cpu:0`."""
    return f"{device.type}:{device.index}"
