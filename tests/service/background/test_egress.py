"""Where webhooks may go: public addresses, or what the setting lists; nothing else by any name."""

import ipaddress

import pytest

from schemas.errors import InvalidRequest
from service.background.egress import EgressPolicy, TargetRefused

STRICT = EgressPolicy(())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1", "240.0.0.1",
        "::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1",
        "192.0.0.192", "168.63.129.16", "::ffff:168.63.129.16", "fec0::1", "64:ff9b:1::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::", "2001:0:0:0:0:0:80ff:fffe",
    ],
)  # fmt: skip
def test_private_addresses_are_not_called(address: str) -> None:
    assert not STRICT.allows(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_ones_are(address: str) -> None:
    assert STRICT.allows(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"])
async def test_names_of_loopback_are_found_out_when_called(host: str) -> None:
    with pytest.raises(TargetRefused):
        await STRICT.resolve(host, 80)


async def test_what_the_setting_lists_may_be_called() -> None:
    listed = EgressPolicy(("127.0.0.0/8", "localhost"))
    assert listed.allows(ipaddress.ip_address("127.0.0.1"))
    assert not listed.allows(ipaddress.ip_address("10.0.0.1"))
    assert listed.check_url("http://127.0.0.1:8080/hook", "url")
    assert listed.check_url("http://localhost:8080/hook", "url")
    assert await listed.resolve("localhost", 80)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "ftp://example.com/hook",
        "https://user:secret@example.com/hook",
        "https://127.0.0.1/hook",
        "https://[::1]/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/hook",
        "https://localhost./hook",
        "https://127.1/hook",
        "https://2130706433/hook",
        "https://0x7f.0.0.1/hook",
        "https://0177.0.0.1/hook",
        "https://127.0.0.1./hook",
        "https://metadata.google.internal/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com/\r\nx: y",
        "https:///hook",
        "https://[::1/hook",
        "hook",
        "",
    ],
)
def test_urls_that_are_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        STRICT.check_url(url, "url")
    assert caught.value.param == "url"


def test_an_ordinary_url() -> None:
    assert STRICT.check_url("https://example.com:8443/hook?a=b", "url")
