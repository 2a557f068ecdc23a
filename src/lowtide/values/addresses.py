"""Which IP addresses lie in the open Internet, and the refusal of those that do not."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# IANA's special-purpose registries. The standard library's `is_global` says different things by Python version.
_V4_SPECIAL = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; clouds' metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# Unicast of the open Internet comes from one block; loopback, unique-local, link-local, site-local, multicast and
# IPv4-compatible addresses lie outside of it.
_V6_UNICAST = IPv6Network("2000::/3")
_V6_SPECIAL = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: the relay sends to the IPv4 address within
        "3fff::/20",  # documentation
    )
)
# Behind these stands an IPv4 address, which is the one that is reached.
_V4_WITHIN = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))


class PrivateAddress(Exception):
    """A connection that was not made, because the address is none of the open Internet. Nothing was sent."""

    def __init__(self, host: str, address: str) -> None:
        said = host if host == address else f"{host} resolves to {address}, which"
        super().__init__(f"{said} is an address of this machine or a private network.")
        self.host = host
        self.address = address


def is_public(address: str) -> bool:
    """Whether an IP address is unicast and routed in the open Internet.

    False for all else: loopback, private, shared, link-local (also with a zone), multicast, reserved, documentation,
    IPv6 forms that lead to such an IPv4 address, 6to4 and Teredo altogether, and text that is no address. Takes what
    a name resolved to; other spellings of an address (127.1, 0x7f000001) are no addresses here.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return _public_v4(found) if isinstance(found, IPv4Address) else _public_v6(found)


def _public_v4(address: IPv4Address) -> bool:
    return not any(address in block for block in _V4_SPECIAL)


def _public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if any(address in block for block in _V4_WITHIN):
        return _public_v4(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _V6_UNICAST and not any(address in block for block in _V6_SPECIAL)
