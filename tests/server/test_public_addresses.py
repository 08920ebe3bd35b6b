"""Public addresses: one address of each special range of IANA, and its ordinary neighbours."""

import pytest

from rag_vqa.server.image_fetch import is_public_address, resolve_host


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.8.8.8",
     "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192",
     "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
     "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
     "::", "::1", "::7f00:1", "::808:808", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
     "::ffff:8.8.8.8", "::ffff:0:808:808", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1",
     "100::1", "2001::1", "2001:0:4136:e378::1", "2001:2::1", "2001:10::1", "2001:20::1",
     "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "4000::1", "5f00::1",
     "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "ff0e::1"],
)  # fmt: skip
def test_what_is_set_apart_is_not_public(address) -> None:
    assert not is_public_address(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "168.63.129.17",
     "172.15.0.1", "172.32.0.1", "192.0.1.1", "192.88.98.1", "198.17.0.1", "198.20.0.1",
     "223.255.255.255", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700:4700::1111",
     "2a00:1450::1"],
)  # fmt: skip
def test_machines_of_the_internet_are(address) -> None:
    assert is_public_address(address)


@pytest.mark.parametrize("name", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.0.0.1"])
def test_a_number_is_a_name_in_all_its_spellings(name) -> None:
    assert resolve_host(name, 80) == ["127.0.0.1"]
