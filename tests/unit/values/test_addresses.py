"""Which addresses a URL from outside may lead to."""

import pytest

from lowtide.values.addresses import PrivateAddress, is_public

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450:4001:82f::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]
NOT_PUBLIC = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1"],
    "link-local": ["169.254.169.254", "169.254.0.1", "fe80::1", "febf::1"],
    "shared by carriers": ["100.64.0.0", "100.64.0.1", "100.127.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "reserved": ["240.0.0.1", "254.0.0.1", "192.0.0.1", "192.0.0.170", "4000::1", "100::1", "5f00::1"],
    "broadcast": ["255.255.255.255"],
    "benchmark": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1"],
    "unique-local": ["fc00::1", "fd12:3456::1", "fd00:ec2::254"],
    "site-local": ["fec0::1", "feff::1"],
    "mapped": [
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:7f00:1",
        "::ffff:0:0",
    ],
    "translated": ["::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"],
    "compatible": ["::127.0.0.1", "::10.0.0.1", "::8.8.8.8"],
    "NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8"],
    "6to4": ["2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::1", "2002:808:808::1"],
    "6to4 relay": ["192.88.99.1"],
    "Teredo": ["2001:0:4136:e378:8000:63bf:80ff:fffe", "2001::1"],
    "ORCHID": ["2001:10::1", "2001:20::1"],
    "zone": ["fe80::1%eth0", "fe80::1%1", "2001:4860:4860::8888%eth0", "::1%lo", "::ffff:8.8.8.8%2"],
    "no address": [
        "",
        " ",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "8.8.8.8 ",
        "[::1]",
    ],
    "written otherwise": [
        "8.8.8.8/32",
        "8.8.8.8:80",
        "8.8.8.08",
        "８.8.8.8",
        "1.1.1.1\n",
        "2001:4860::8888/64",
    ],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_unicast_of_the_open_internet_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    ("kind", "address"), [(kind, address) for kind, group in NOT_PUBLIC.items() for address in group]
)
def test_all_else_is_not_public(kind, address):
    assert not is_public(address)


def test_a_refusal_names_host_and_address():
    fault = PrivateAddress("feed.example", "127.0.0.1")
    assert (fault.host, fault.address) == ("feed.example", "127.0.0.1")
    assert str(fault) == (
        "feed.example resolves to 127.0.0.1, which is an address of this machine or a private network."
    )


def test_a_refused_literal_is_named_once():
    assert str(PrivateAddress("::1", "::1")) == "::1 is an address of this machine or a private network."
