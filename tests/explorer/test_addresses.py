"""Addresses are bound to, printed and recognized as the same ones."""

import socket

import pytest

from convlens.errors import UserError
from convlens.explorer.addresses import address_of, as_prefix, is_loopback, listen


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0:0:0:0:0:0:0:1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.0.7", False),
        ("lab.example", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_only_the_loopback_goes_without_a_token(host, loopback):
    assert is_loopback(host) == loopback


@pytest.mark.parametrize(
    ("root_path", "prefix"),
    [
        ("", ""),
        ("/", ""),
        ("/user/me/proxy/8765", "/user/me/proxy/8765"),
        ("user/me/", "/user/me"),
        ("/user/me%40x.org/", "/user/me@x.org"),
        ("/user/jürgen", "/user/j%C3%BCrgen"),
        ("/user/j%C3%BCrgen", "/user/j%C3%BCrgen"),
        ("//evil.example/", "/evil.example"),
        ("/\\evil.example", "/%5Cevil.example"),
        ("/a b;c\r\nX: y", "/a%20b%3Bc%0D%0AX:%20y"),
    ],
)
def test_a_prefix_is_a_path_of_this_host(root_path, prefix):
    assert as_prefix(root_path) == prefix
    assert as_prefix(prefix) == prefix


@pytest.mark.parametrize("root_path", ["https://hub.example/user/me", "/a/../b", "."])
def test_what_is_no_prefix_is_told(root_path):
    with pytest.raises(UserError, match=r"`root_path` .* is no path") as told:
        as_prefix(root_path)
    assert told.value.options == ("root_path",)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_an_address_names_what_was_asked_for(host):
    with listen(host, 0) as listening:
        port = listening.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        assert address_of(listening, host) == f"http://{name}:{port}"
        socket.create_connection((host, port), 5).close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_all_of_this_computer_s_addresses_are_printed_as_its_name(host, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "lab")
    with listen(host, 0) as listening:
        port = listening.getsockname()[1]
        assert address_of(listening, host) == f"http://lab:{port}"
        socket.create_connection(("127.0.0.1", port), 5).close()  # of "::" too
        if host == "::":
            socket.create_connection(("::1", port), 5).close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a..b", "x" * 300, "1.2.3.4.5"])
def test_a_host_that_is_none_is_told(host):
    with pytest.raises(UserError, match="cannot be used") as told:
        listen(host, 0)
    assert told.value.options == ("host", "port")
