//! Which addresses a notification may be sent to.
//!
//! The service runs beside credentials: on ECS they are one HTTP GET away at a link-local address. Whoever can edit a
//! webhook URL, or the DNS name in it, must not be able to make the service fetch them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why nothing is sent to `ip`; `None` if it may be reached. Private networks may: that is where webhooks live.
pub fn refusal(ip: IpAddr, allow_loopback: bool) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => refusal_v4(ip, allow_loopback),
        IpAddr::V6(ip) => refusal_v6(ip, allow_loopback),
    }
}

fn refusal_v4(ip: Ipv4Addr, allow_loopback: bool) -> Option<&'static str> {
    let [first, second, ..] = ip.octets();
    if ip.is_link_local() {
        Some("a link-local address, where cloud metadata and credentials are served")
    } else if ip.is_loopback() {
        (!allow_loopback).then_some("a loopback address; set allow_loopback: true if that is meant")
    } else if first == 0 {
        Some("not an address of a host")
    } else if first == 100 && (64..128).contains(&second) {
        // Shared address space, where some clouds serve metadata.
        Some("a carrier-grade NAT address")
    } else if ip.is_multicast() || ip.is_broadcast() {
        Some("a multicast or broadcast address")
    } else {
        None
    }
}

fn refusal_v6(ip: Ipv6Addr, allow_loopback: bool) -> Option<&'static str> {
    /// The IPv6 address of EC2's metadata service.
    const EC2_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    if ip.is_loopback() {
        return (!allow_loopback).then_some("a loopback address; set allow_loopback: true if that is meant");
    }
    if ip.is_unspecified() {
        return Some("not an address of a host");
    }
    if ip.is_unicast_link_local() || ip == EC2_METADATA {
        return Some("a link-local address, where cloud metadata and credentials are served");
    }
    if ip.is_multicast() {
        return Some("a multicast or broadcast address");
    }
    embedded_v4(ip).and_then(|ip| refusal_v4(ip, allow_loopback))
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, NAT64 (64:ff9b::/96), 6to4 (2002::/16).
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_out_of_reach_in_every_spelling() {
        for ip in [
            "169.254.169.254",
            "169.254.170.2",
            "::ffff:169.254.170.2",
            "::169.254.170.2",
            "64:ff9b::a9fe:aa02",
            "2002:a9fe:aa02::1",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "0.0.0.0",
            "::",
            "224.0.0.1",
        ] {
            assert!(refusal(ip.parse().unwrap(), true).is_some(), "{ip}");
        }
    }

    #[test]
    fn loopback_is_reached_only_when_allowed_and_networks_always() {
        for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(refusal(ip.parse().unwrap(), false).is_some(), "{ip}");
            assert_eq!(refusal(ip.parse().unwrap(), true), None, "{ip}");
        }
        for ip in ["10.1.2.3", "192.168.0.9", "93.184.216.34", "2606:2800::1", "fd12::1"] {
            assert_eq!(refusal(ip.parse().unwrap(), false), None, "{ip}");
        }
    }
}
