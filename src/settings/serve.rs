//! The gateway's section, and what its values must be among themselves.

use super::reader::Reader;
use crate::job::{Name, ProfileName};
use crate::units::Millis;
use std::net::{IpAddr, SocketAddr};

/// How the HTTP gateway listens, for whom, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeSection {
    /// Where codejail's interface answers: never an address that the whole world can reach.
    pub listen: SocketAddr,
    /// Where metrics, health and readiness answer.
    pub admin_listen: SocketAddr,
    /// Whose answers are given.
    pub shape: Shape,
    /// Whether code is run at all.
    pub enabled: bool,
    /// Names that `Host` may hold beside private addresses.
    pub hosts: Vec<String>,
    /// The runtime that runs the code.
    pub runtime: Name,
    /// The profile of requests that name none which is allowed.
    pub profile: Option<ProfileName>,
    /// The profiles that a request may ask for.
    pub profiles: Vec<ProfileName>,
    /// Wall time of a run without a profile.
    pub wall_ms: Millis,
    /// How long a caller waits for the answer.
    pub read_timeout_ms: Millis,
    /// How long before that we give up.
    pub margin_ms: Millis,
    /// The most that a body may be.
    pub body_bytes: usize,
    /// Connections at one time.
    pub connections: usize,
    /// How long a request's head may take.
    pub head_timeout_ms: Millis,
    /// How long a request's body may take.
    pub body_timeout_ms: Millis,
    /// From one round of passed checks to the next.
    pub check_interval_ms: Millis,
}

/// Whose answers the compatible interface gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// openedx/codejail-service.
    Openedx,
    /// eduNEXT/codejailservice, the older one.
    Edunext,
}

impl Shape {
    /// The word for it in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Openedx => "openedx",
            Self::Edunext => "edunext",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [Self::Openedx, Self::Edunext];
        all.into_iter().find(|shape| shape.as_str() == word)
    }
}

/// Whether only this host or a private network can reach the address.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

pub(super) fn serve(read: &mut Reader) -> Option<ServeSection> {
    let listen = address(read, "serve.listen");
    let admin_listen = address(read, "serve.admin_listen");
    let shape = read.word("serve.shape", Shape::parse);
    let enabled = read.switch("serve.enabled");
    let hosts = hosts(read);
    let runtime = read.name("serve.runtime");
    let profile = profile(read);
    let profiles = profiles(read);
    let wall_ms = read.millis("serve.wall_ms");
    let read_timeout_ms = read.millis("serve.read_timeout_ms");
    let margin_ms = read.millis("serve.margin_ms");
    let body_bytes = read.narrow("serve.body_bytes");
    let connections = read.narrow("serve.connections");
    let head_timeout_ms = read.millis("serve.head_timeout_ms");
    let body_timeout_ms = read.millis("serve.body_timeout_ms");
    let check_interval_ms = read.millis("serve.check_interval_ms");
    if listen.is_some_and(|address| !is_private(address.ip())) {
        let expected = "expected a loopback or private address: this interface asks for no \
                        authentication; put a proxy that does in front of it";
        read.complain("serve.listen", expected);
    }
    let (wall, margin, all) = (wall_ms?, margin_ms?, read_timeout_ms?);
    if wall.get().saturating_add(margin.get()) >= all.get() {
        let expected = "expected less than serve.read_timeout_ms minus serve.margin_ms: else nobody \
                        would hear that the time was up";
        read.complain("serve.wall_ms", expected);
    }
    Some(ServeSection {
        listen: listen?,
        admin_listen: admin_listen?,
        shape: shape?,
        enabled: enabled?,
        hosts: hosts?,
        runtime: runtime?,
        profile: profile?,
        profiles: profiles?,
        wall_ms: wall,
        read_timeout_ms: all,
        margin_ms: margin,
        body_bytes: body_bytes?,
        connections: connections?,
        head_timeout_ms: head_timeout_ms?,
        body_timeout_ms: body_timeout_ms?,
        check_interval_ms: check_interval_ms?,
    })
}

fn address(read: &mut Reader, key: &str) -> Option<SocketAddr> {
    let text = read.text(key)?;
    let address = text.parse().ok();
    if address.is_none() {
        read.complain(key, "expected an IP address and a port");
    }
    address
}

fn hosts(read: &mut Reader) -> Option<Vec<String>> {
    let hosts = read.texts("serve.hosts")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_name = |host: &String| (1..=253).contains(&host.len()) && host.bytes().all(allowed);
    if !hosts.iter().all(is_name) {
        read.complain(
            "serve.hosts",
            "expected names of hosts, each without a port",
        );
        return None;
    }
    Some(hosts)
}

fn profile(read: &mut Reader) -> Option<Option<ProfileName>> {
    let Some(text) = read.optional("serve.profile")? else {
        return Some(None);
    };
    let name = ProfileName::parse(&text);
    if let Err(rejection) = &name {
        read.complain("serve.profile", rejection.message.clone());
    }
    name.ok().map(Some)
}

fn profiles(read: &mut Reader) -> Option<Vec<ProfileName>> {
    let texts = read.texts("serve.profiles")?;
    let names: Result<Vec<ProfileName>, _> =
        texts.iter().map(|text| ProfileName::parse(text)).collect();
    if let Err(rejection) = &names {
        read.complain("serve.profiles", rejection.message.clone());
    }
    names.ok()
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn only_loopback_and_private_addresses_are_private() {
        for address in [
            "127.0.0.1",
            "127.8.9.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(
                is_private(address.parse().expect("an address")),
                "{address}"
            );
        }
        for address in [
            "0.0.0.0",
            "8.8.8.8",
            "172.32.0.1",
            "100.64.0.1",
            "::",
            "2001:db8::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(
                !is_private(address.parse().expect("an address")),
                "{address}"
            );
        }
    }
}
