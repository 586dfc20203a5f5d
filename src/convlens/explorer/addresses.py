"""Addresses to listen at, as they are bound to, printed and recognized."""

import ipaddress
import socket
from urllib.parse import quote, unquote

from convlens.errors import UserError


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this computer only, and no other name can be given it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def as_prefix(root_path: str) -> str:
    """The path below which a proxy shows the page: "", or "/…" without a slash at its end.

    It is percent-encoded, whether it was given so or not. Raises UserError for a whole address.
    """
    if "://" in root_path or any(part in (".", "..") for part in root_path.split("/")):
        raise UserError(
            f"`root_path` {root_path} is no path; give what stands after the host in the address "
            "that the proxy is asked at, such as /user/me/proxy/8765",
            option="root_path",
        )
    path = quote(unquote(root_path.strip("/")), safe="/~!$&'()*+=:@", errors="replace")
    return path and f"/{path}"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UserError where the address is not free or none at all."""
    if not 0 <= port < 2**16:
        raise UserError(f"`port` {port} is out of range; give 0 to 65535", option="port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()  # for a name may stand for either kind
    try:
        listening = socket.create_server((host, port), family=family, dualstack_ipv6=both)
        # Head and body are two packets, and the second would wait 40 ms for the first's receipt.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as problem:
        reason = problem.strerror
    except UnicodeError:
        reason = "it is no host's name"
    raise UserError(
        f"{host}:{port} cannot be used ({reason}); give another `host` or `port` "
        "(0 takes any port that is free)",
        option=("host", "port"),
    )


def address_of(listening: socket.socket, host: str) -> str:
    """Where a browser finds it, without a path; host: what it was asked to listen at."""
    bound, port = listening.getsockname()[:2]
    if ipaddress.ip_address(bound.partition("%")[0]).is_unspecified:  # all of this computer's
        host = socket.gethostname()
    elif ":" in host:
        host = f"[{host.replace('%', '%25')}]"
    return f"http://{host}:{port}"
