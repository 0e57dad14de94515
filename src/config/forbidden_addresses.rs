//! Addresses that the service must not call.
//!
//! URLs come from the author of the configuration, and a metadata endpoint hands the service's credentials to
//! anyone who asks from this machine. Such endpoints are never called, whatever name leads to them.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use url::Host;
use url::Url;

/// Why an address must not be called; `None` if it may be.
///
/// Link-local addresses are always refused: they include the metadata and credential endpoints of EC2
/// (`169.254.169.254`), ECS (`169.254.170.2`) and EKS (`169.254.170.23`). Their IPv6 forms in `fd00:ec2::/32` are
/// refused too, and every IPv6 address with an embedded IPv4 address is judged by the latter. Loopback is refused
/// unless `allow_loopback`. Private networks are allowed: receivers are often there.
pub fn refusal(ip: IpAddr, allow_loopback: bool) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => refusal_v4(ip, allow_loopback),
        IpAddr::V6(ip) => match embedded(ip) {
            Some(ip) => refusal_v4(ip, allow_loopback),
            None => refusal_v6(ip, allow_loopback),
        },
    }
}

fn refusal_v4(ip: Ipv4Addr, allow_loopback: bool) -> Option<&'static str> {
    if ip.is_link_local() {
        Some("it is link-local, where metadata and credentials are served")
    } else if ip.octets()[0] == 0 {
        Some("it is unspecified")
    } else if ip.is_multicast() || ip.is_broadcast() {
        Some("it is not a single host's address")
    } else if ip.is_loopback() && !allow_loopback {
        Some("it is loopback, which needs `allow_loopback: true`")
    } else {
        None
    }
}

fn refusal_v6(ip: Ipv6Addr, allow_loopback: bool) -> Option<&'static str> {
    let segments = ip.segments();
    if ip.is_unicast_link_local() || (segments[0] == 0xfd00 && segments[1] == 0x0ec2) {
        Some("it is link-local, where metadata and credentials are served")
    } else if ip.is_unspecified() {
        Some("it is unspecified")
    } else if ip.is_multicast() {
        Some("it is not a single host's address")
    } else if ip.is_loopback() && !allow_loopback {
        Some("it is loopback, which needs `allow_loopback: true`")
    } else {
        None
    }
}

/// The IPv4 address inside an IPv6 one: mapped (`::ffff:a.b.c.d`), translated (`::ffff:0:a.b.c.d`), compatible (`::a.b.c.d`), NAT64
/// (`64:ff9b::/96` and `64:ff9b:1::/48`), Teredo (`2001::/32`), 6to4 (`2002::/16`).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = ip.segments();
    let join = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(w, x, y, z)
    };
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, ..] => {
            Some(join(high, low))
        }
        // Teredo stores the client's address inverted.
        [0x2001, 0, ..] => Some(join(!high, !low)),
        // `::` and `::1` contain no IPv4 address.
        [0, 0, 0, 0, 0, 0] if high != 0 || low > 1 => Some(join(high, low)),
        [0x2002, ..] => Some(join(b, c)),
        _ => None,
    }
}

/// The IP address in a URL, if its host is one.
pub fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain("localhost") => Some(Ipv4Addr::LOCALHOST.into()),
        Host::Domain(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_that_serve_no_secrets_may_be_called() {
        let check = |ip: &str, allow_loopback: bool, refused: bool| {
            let parsed: IpAddr = ip.parse().unwrap();
            assert_eq!(refusal(parsed, allow_loopback).is_some(), refused, "{ip} loopback allowed: {allow_loopback}");
        };
        for never in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "169.254.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "ff02::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2001:0:1::5601:5601",
            "2002:a9fe:aa02::1",
        ] {
            check(never, false, true);
            check(never, true, true);
        }
        for here in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "2002:7f00:1::"] {
            check(here, false, true);
            check(here, true, false);
        }
        for fine in ["10.0.0.1", "172.16.3.4", "192.168.1.1", "8.8.8.8", "2001:db8::1", "fd12::1", "::ffff:10.0.0.1"] {
            check(fine, false, false);
            check(fine, true, false);
        }
    }
}
