"""Proves that a proxy which the settings trust says where requests come from, and nobody else."""

import itertools
import json
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from tests.integration.waiting import wait_until
from tests.servers import RunningServer, running_server

PROXY, STRANGER = "127.0.0.2", "127.0.0.9"
PROMPT = {"prompt": "Hello", "max_tokens": 1}
LIMITS = ("--anonymous-limits", "{requests_per_minute: 2}")
ALLOWED = [200, 200, 429]

# Each test has callers of its own, who have not spent anything.
_clients = (f"203.0.113.{number}" for number in itertools.count(1))
_strangers = (f"127.0.0.{number}" for number in itertools.count(10))


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A server that trusts a proxy, and the network of others behind it."""
    trusted = (f"--forwarded-allow-ips={PROXY}", "--forwarded-allow-ips=10.0.0.0/8")
    with running_server("--engine=simulated", *LIMITS, *trusted) as running:
        yield running


def ask(server: RunningServer, peer: str, *forwarded: str, **headers: str) -> int:
    """The status of a request, which comes from a peer and says where it was forwarded from."""
    said = [(name.replace("_", "-"), value) for name, value in headers.items()]
    said += [("x-forwarded-for", each) for each in forwarded]
    given = [(name.encode(), value.encode("latin-1")) for name, value in said]
    with httpx.Client(transport=httpx.HTTPTransport(local_address=peer), timeout=20) as http:
        return http.post(f"{server.url}/v1/completions", json=PROMPT, headers=given).status_code


def ask_by_socket(server: RunningServer, peer: str, forwarded: str) -> int:
    """The same over a WebSocket; 200 where there is no error."""
    address = server.url.replace("http", "ws") + "/v1/completions"
    headers = {"x-forwarded-for": forwarded, "x-forwarded-proto": "https"}
    with connect(address, additional_headers=headers, source_address=(peer, 0)) as socket:
        socket.send(json.dumps({**PROMPT, "stream": False}))
        return int(json.loads(socket.recv(timeout=20)).get("status", 200))


def wait_logged(server: RunningServer, client: str, times: int) -> None:
    """Wait for the lines of so many requests without a key from an address."""

    def logged() -> bool:
        httpx.get(f"{server.url}/health", timeout=20)
        return server.log.count(f" {client} -\n") >= times

    wait_until(logged)


def test_what_a_trusted_proxy_says_is_counted_and_logged(server: RunningServer) -> None:
    for client in (next(_clients), next(_clients)):
        assert [ask(server, PROXY, client) for _ in range(3)] == ALLOWED
        wait_logged(server, client, 3)


def test_what_anybody_else_says_changes_nothing(server: RunningServer) -> None:
    stranger = next(_strangers)
    said = [next(_clients) for _ in range(3)]

    assert [ask(server, stranger, each) for each in said] == ALLOWED
    wait_logged(server, stranger, 3)
    assert not any(each in server.log for each in said)


def test_a_server_that_trusts_nobody_reads_nothing() -> None:
    with running_server("--engine=simulated", *LIMITS) as server:
        assert [ask(server, PROXY, next(_clients)) for _ in range(3)] == ALLOWED


def test_sockets_are_counted_as_requests_are(server: RunningServer) -> None:
    client, stranger = next(_clients), next(_strangers)

    assert [ask_by_socket(server, PROXY, client) for _ in range(3)] == ALLOWED
    assert ask(server, PROXY, client) == 429
    assert [ask_by_socket(server, stranger, next(_clients)) for _ in range(3)] == ALLOWED


def test_of_several_hops_the_last_that_is_not_trusted_counts(server: RunningServer) -> None:
    client = next(_clients)
    # What a client says stands before what its proxies say of it, in one header or in several.
    hops = [[f"1.1.1.1, {client}, 10.1.2.3"], ["10.9.9.9", f"{client}:1234"], ["2.2.2.2", client]]

    assert [ask(server, PROXY, *each) for each in hops] == ALLOWED


def test_of_an_address_of_ipv6_the_network_counts(server: RunningServer) -> None:
    said = ["2001:db8::1", "[2001:db8::2]:443", "2001:DB8:0:0::3"]

    assert [ask(server, PROXY, each) for each in said] == ALLOWED


@pytest.mark.parametrize(
    "said",
    ["spoofed 200 1.0 ms ann", "fe80::1%spoofed", "[::1spoofed", "unix", "999.1.1.1", "\x80\xff"],
)
def test_what_is_no_address_is_nobodys(server: RunningServer, said: str) -> None:
    before = server.log.count(" - -\n")

    assert ask(server, PROXY, said) in (200, 429)
    wait_logged(server, "-", before + 1)
    assert "spoofed" not in server.log and "Traceback" not in server.log


@pytest.mark.parametrize("said", ["", f"{PROXY},"])
def test_where_nothing_is_said_the_proxy_is_the_client(server: RunningServer, said: str) -> None:
    before = server.log.count(f" {PROXY} -\n")

    assert ask(server, PROXY, said) in (200, 429)
    wait_logged(server, PROXY, before + 1)


@pytest.mark.parametrize("peer", [PROXY, STRANGER])
def test_no_header_makes_a_page_one_of_this_machine(server: RunningServer, peer: str) -> None:
    said = {"forwarded": "for=127.0.0.1;host=evil.example", "x_real_ip": "127.0.0.1"}
    said |= {f"x_forwarded_{name}": "evil.example" for name in ("host", "server", "prefix")}
    said |= {"x_forwarded_proto": "https", "x_forwarded_port": "443"}

    assert ask(server, peer, "127.0.0.1", origin="https://evil.example", **said) == 403
