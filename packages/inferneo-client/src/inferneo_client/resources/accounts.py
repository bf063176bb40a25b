"""Receives days, and what a token may do; hands on what a key has used, and tokens made with it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from inferneo_client._server_requests import new_token, usage
from inferneo_client.types.tokens import AccessToken
from inferneo_client.types.usage import UsageReport

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo
    from inferneo_client._sync import Inferneo


class UsageCalls:
    """`client.usage`."""

    def __init__(self, client: "Inferneo") -> None:
        self._client = client

    def retrieve(
        self,
        *,
        start: str | None = None,
        end: str | None = None,
        group_by: Sequence[Literal["day", "model"]] | None = None,
    ) -> UsageReport:
        """Tell what the key has used.

        Args:
            start: the first day (UTC), as `2026-11-21`; 29 days before the last, if left out.
            end: the last day, included; today, if left out.
            group_by: what is told apart; both, if left out.

        Raises:
            ApiError: see the tree of errors.
        """
        options = self._client._options
        return self._client._ask(usage(options, "/usage", start, end, group_by))

    def all(
        self,
        *,
        start: str | None = None,
        end: str | None = None,
        group_by: Sequence[Literal["owner", "day", "model"]] | None = None,
        owner: str | None = None,
    ) -> UsageReport:
        """Tell what everybody has used, or one `owner`, to a key of the scope `admin`.

        Raises:
            PermissionDenied: the key is none.
            ApiError: see the tree of errors.
        """
        options = self._client._options
        return self._client._ask(usage(options, "/usage/all", start, end, group_by, owner))


class Tokens:
    """`client.tokens`."""

    def __init__(self, client: "Inferneo") -> None:
        self._client = client

    def create(
        self,
        *,
        seconds: int = 300,
        scopes: Sequence[str] | None = None,
        models: Sequence[str] | None = None,
    ) -> AccessToken:
        """Make a short-lived token that counts as the key, for a page or one socket.

        Args:
            seconds: how long it lives, 1 to 3600.
            scopes: some of the key's; left out, `inference`.
            models: those that it may use, some of the key's; left out, all of them.

        Raises:
            AuthenticationFailed: the client's own key is such a token, or none.
            ApiError: see the tree of errors.
        """
        return self._client._ask(new_token(self._client._options, seconds, scopes, models))


class AsyncUsageCalls:
    """`client.usage`."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self._client = client

    async def retrieve(
        self,
        *,
        start: str | None = None,
        end: str | None = None,
        group_by: Sequence[Literal["day", "model"]] | None = None,
    ) -> UsageReport:
        """Tell what the key has used.

        Args:
            start: the first day (UTC), as `2026-11-21`; 29 days before the last, if left out.
            end: the last day, included; today, if left out.
            group_by: what is told apart; both, if left out.

        Raises:
            ApiError: see the tree of errors.
        """
        options = self._client._options
        return await self._client._ask(usage(options, "/usage", start, end, group_by))

    async def all(
        self,
        *,
        start: str | None = None,
        end: str | None = None,
        group_by: Sequence[Literal["owner", "day", "model"]] | None = None,
        owner: str | None = None,
    ) -> UsageReport:
        """Tell what everybody has used, or one `owner`, to a key of the scope `admin`.

        Raises:
            PermissionDenied: the key is none.
            ApiError: see the tree of errors.
        """
        options = self._client._options
        return await self._client._ask(usage(options, "/usage/all", start, end, group_by, owner))


class AsyncTokens:
    """`client.tokens`."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self._client = client

    async def create(
        self,
        *,
        seconds: int = 300,
        scopes: Sequence[str] | None = None,
        models: Sequence[str] | None = None,
    ) -> AccessToken:
        """Make a short-lived token that counts as the key, for a page or one socket.

        Args:
            seconds: how long it lives, 1 to 3600.
            scopes: some of the key's; left out, `inference`.
            models: those that it may use, some of the key's; left out, all of them.

        Raises:
            AuthenticationFailed: the client's own key is such a token, or none.
            ApiError: see the tree of errors.
        """
        return await self._client._ask(new_token(self._client._options, seconds, scopes, models))
