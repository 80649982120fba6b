"""Subnets of a node."""

from ipaddress import IPv4Network

from devcluster.netns import Subnets


def test_the_three_networks_of_a_cluster_meet_none_of_another_cluster() -> None:
    networks = [
        network
        for number in (0, 1, 255)
        for network in (Subnets(number).nodes, Subnets(number).pods, Subnets(number).services)
    ]
    assert len(networks) == 9
    assert not any(a.overlaps(b) for index, a in enumerate(networks) for b in networks[index + 1 :])


def test_a_route_into_or_over_one_of_them_takes_the_subnet() -> None:
    subnets = Subnets(7)
    assert subnets.free([IPv4Network("10.200.8.0/24"), IPv4Network("192.168.0.0/16")])
    assert not subnets.free([IPv4Network("10.202.7.10/32")])
    assert not subnets.free([IPv4Network("10.200.0.0/16")])


def test_a_route_to_very_much_takes_no_subnet() -> None:
    assert Subnets(7).free([IPv4Network("10.0.0.0/8"), IPv4Network("0.0.0.0/0")])


def test_the_addresses_are_those_that_kubernetes_expects() -> None:
    subnets = Subnets(7)
    assert (subnets.host, subnets.node) == ("10.200.7.1", "10.200.7.2")
    assert (subnets.api_service, subnets.dns_service) == ("10.202.7.1", "10.202.7.10")
