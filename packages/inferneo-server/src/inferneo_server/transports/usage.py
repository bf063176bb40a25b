"""Receives questions about what was used; hands on sums, as JSON or as CSV."""

import csv
import io
from datetime import date, timedelta
from operator import itemgetter
from typing import Annotated, Final

from litestar import Router, get
from litestar.params import QueryParameter
from litestar.response.base import ASGIResponse
from msgspec import UNSET

from inferneo_core.codec import encode
from inferneo_core.errors import InvalidRequest, ServerError, retry_headers
from inferneo_core.usage import UsageReport, UsageRow
from inferneo_server.access.check import owner_of
from inferneo_server.transports.errors import error_responses
from inferneo_server.transports.requests import ApiRequest
from inferneo_server.usage.base import UsageFailed, Use
from inferneo_server.usage.meter import today

USUAL_DAYS = 30
MAX_DAYS = 366

# A spreadsheet takes a cell that begins so for a formula (OWASP, CSV injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_COUNTS: Final = (
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "aborted",
)

Start = Annotated[str | None, QueryParameter(description="first day (UTC), `2026-11-21`")]
End = Annotated[str | None, QueryParameter(description="last day (UTC), included; default today")]
Group = Annotated[
    str | None,
    QueryParameter(name="group_by", description="what is told apart: `day,model` or less"),
]
Format = Annotated[str | None, QueryParameter(name="format", description="`json` or `csv`")]


@get("/usage", responses=error_responses(400, 401, 403, 503))
async def get_usage(
    request: ApiRequest,
    start: Start = None,
    end: End = None,
    group: Group = None,
    form: Format = None,
) -> ASGIResponse:
    """Tell what the caller has used, by day and model."""
    groups = _groups(group, ("day", "model"))
    return await _answer(request, owner_of(request.scope), start, end, groups, form)


@get("/usage/all", opt={"scope": "admin"}, responses=error_responses(400, 401, 403, 503))
async def get_all_usage(
    request: ApiRequest,
    start: Start = None,
    end: End = None,
    group: Group = None,
    form: Format = None,
    owner: Annotated[str | None, QueryParameter(description="whose alone")] = None,
) -> ASGIResponse:
    """Tell what everybody has used, by owner, day and model."""
    groups = _groups(group, ("owner", "day", "model"))
    return await _answer(request, owner, start, end, groups, form)


async def _answer(
    request: ApiRequest,
    owner: str | None,
    start: str | None,
    end: str | None,
    groups: tuple[str, ...],
    form: str | None,
) -> ASGIResponse:
    last = _day(end, "end") or today()
    first = _day(start, "start") or last - timedelta(days=USUAL_DAYS - 1)
    if not 0 <= (last - first).days < MAX_DAYS:
        raise InvalidRequest(f"Ask for 1 to {MAX_DAYS} days, the first one first", param="start")
    if form not in (None, "json", "csv"):
        raise InvalidRequest("'format' must be one of: json, csv", param="format")
    try:
        uses = await request.service.spending.meter.uses(first, last, owner)
    except UsageFailed:
        message = "What was used cannot be looked up at the moment"
        raise ServerError(message, status=503, headers=retry_headers(1)) from None
    rows = summed(uses, groups)
    if form == "csv" or (form is None and "text/csv" in request.headers.get("accept", "")):
        return ASGIResponse(
            body=to_csv(rows, groups).encode(),
            media_type="text/csv",
            headers={"content-disposition": 'attachment; filename="usage.csv"'},
        )
    [total] = summed(uses, ()) or [_row(Use(owner="", model="", day=last, requests=0), {})]
    report = UsageReport(start=first.isoformat(), end=last.isoformat(), data=rows, total=total)
    return ASGIResponse(body=encode(report), media_type="application/json")


def summed(uses: list[Use], groups: tuple[str, ...]) -> list[UsageRow]:
    """The sums by what is to be told apart, in its order."""
    sums: dict[tuple[str, ...], Use] = {}
    for use in uses:
        key = tuple(str(getattr(use, name)) for name in groups)
        sums[key] = sums[key] + use if key in sums else use
    return [
        _row(use, dict(zip(groups, key, strict=True)))
        for key, use in sorted(sums.items(), key=itemgetter(0))
    ]


def _row(use: Use, told: dict[str, str]) -> UsageRow:
    return UsageRow(
        owner=told.get("owner", UNSET),
        day=told.get("day", UNSET),
        model=told.get("model", UNSET),
        requests=use.requests,
        prompt_tokens=use.prompt_tokens,
        completion_tokens=use.completion_tokens,
        cached_tokens=use.cached_tokens,
        aborted=use.aborted,
    )


def to_csv(rows: list[UsageRow], groups: tuple[str, ...]) -> str:
    """The rows as CSV (RFC 4180), in which no name is taken for a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*groups, *_COUNTS])
    for row in rows:
        values = [getattr(row, name) for name in (*groups, *_COUNTS)]
        writer.writerow([_cell("" if value is UNSET else value) for value in values])
    return text.getvalue()


def _cell(value: str | int) -> str | int:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _groups(text: str | None, allowed: tuple[str, ...]) -> tuple[str, ...]:
    if text is None:
        return allowed
    given = {name.strip() for name in text.split(",")} - {""}
    if unknown := given - set(allowed):
        raise InvalidRequest(
            f"'group_by' takes {', '.join(allowed)}, not '{min(unknown)}'", param="group_by"
        )
    return tuple(name for name in allowed if name in given)


def _day(text: str | None, param: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"'{param}' must be a day, as 2026-11-21", param=param) from None


router = Router("/v1", route_handlers=[get_usage, get_all_usage], tags=["Server"])
