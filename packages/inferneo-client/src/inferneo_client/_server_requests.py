"""Receives what is asked of a server's models, devices and accounts; hands on the calls."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode

import msgspec

from inferneo_client._calls import Call
from inferneo_client._options import Options
from inferneo_client._params import LoadParams, body_of
from inferneo_client._requests import Request, StreamRequest, get, post
from inferneo_client.types.answer import Answer
from inferneo_client.types.devices import DeviceStatus, DeviceSwitch, GpuInfo
from inferneo_client.types.models import ModelStatus
from inferneo_client.types.tokens import AccessToken
from inferneo_client.types.usage import UsageReport

W = TypeVar("W", bound=Answer)


class LoadFold:
    """Gives the last of a load's events: how the model stands at the end."""

    def __init__(self) -> None:
        self._last = ModelStatus()

    def add(self, chunks: Iterable[ModelStatus]) -> None:
        for chunk in chunks:
            self._last = chunk

    def whole(self) -> ModelStatus:
        return self._last

    def finished(self, choices: int) -> bool:
        return self._last.object == "model.status" and bool(self._last.id)


def load(options: Options, model: str, params: LoadParams) -> Request[ModelStatus]:
    """`POST /v1/models/load`."""
    return Request(_load_call(options, model, params, False), ModelStatus)


def load_stream(
    options: Options, model: str, params: LoadParams
) -> StreamRequest[ModelStatus, ModelStatus]:
    """`POST /v1/models/load`, as events of its progress."""
    return StreamRequest(_load_call(options, model, params, True), ModelStatus, LoadFold, _messages)


def _load_call(options: Options, model: str, params: LoadParams, stream: bool) -> Call:
    given = cast("Mapping[str, Any]", params)
    body = body_of(LoadParams, given, model=model, stream=stream or None)
    # Who asks again joins the load that is on its way.
    return post(options, "/models/load", body, given, stream, safe=True)


def _messages(chunks: list[ModelStatus]) -> list[str]:
    return [chunk.message for chunk in chunks if chunk.message]


def unload(options: Options, model: str, force: bool, persist: bool) -> Request[ModelStatus]:
    """`POST /v1/models/{id}/unload`."""
    return _change(options, model, "unload", {"force": force, "persist": persist})


def sleep(options: Options, model: str, level: int) -> Request[ModelStatus]:
    """`POST /v1/models/{id}/sleep`."""
    return _change(options, model, "sleep", {"level": level})


def wake(options: Options, model: str) -> Request[ModelStatus]:
    """`POST /v1/models/{id}/wake`."""
    return _change(options, model, "wake", {})


def _change(
    options: Options, model: str, what: str, fields: dict[str, Any]
) -> Request[ModelStatus]:
    return _post(options, f"/models/{quote(model)}/{what}", ModelStatus, fields)


def device_status(options: Options) -> Request[DeviceStatus]:
    """`GET /v1/devices/status`."""
    return Request(get(options, "/devices/status"), DeviceStatus)


def device_switch(options: Options, device: str, model: str | None) -> Request[DeviceSwitch]:
    """`POST /v1/devices/switch`: to where a model is already, it does nothing."""
    return _post(options, "/devices/switch", DeviceSwitch, {"device": device, "model": model})


def gpu_info(options: Options) -> Request[GpuInfo]:
    """`GET /v1/gpu/info`."""
    return Request(get(options, "/gpu/info"), GpuInfo)


def usage(
    options: Options,
    path: str,
    start: str | None,
    end: str | None,
    group_by: Sequence[str] | None,
    owner: str | None = None,
) -> Request[UsageReport]:
    """`GET /v1/usage`, or that of all owners."""
    groups = None if group_by is None else ",".join(group_by)
    query = {"start": start, "end": end, "group_by": groups, "owner": owner}
    given = {name: value for name, value in query.items() if value is not None}
    return Request(get(options, f"{path}{'?' if given else ''}{urlencode(given)}"), UsageReport)


def new_token(
    options: Options, seconds: int, scopes: Sequence[str] | None, models: Sequence[str] | None
) -> Request[AccessToken]:
    """`POST /v1/tokens`."""
    fields = {"seconds": seconds, "scopes": scopes, "models": models}
    return _post(options, "/tokens", AccessToken, fields)


def _post(options: Options, path: str, kind: type[W], fields: dict[str, Any]) -> Request[W]:
    """A call that changes what is so to what it says: twice is as good as once."""
    body = {name: value for name, value in fields.items() if value is not None}
    return Request(post(options, path, msgspec.json.encode(body), {}, safe=True), kind)
