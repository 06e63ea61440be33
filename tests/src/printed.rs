//! Configurations as docs/standby.md prints them, for an agent that runs them unchanged.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};

use crate::lab::Lab;

const PAGE: &str = include_str!("../../docs/standby.md");

/// The first configuration below a heading.
pub fn configuration(heading: &str) -> Result<&'static str> {
    let section = PAGE.split(&format!("\n## {heading}\n")).nth(1);
    let block = section.and_then(|section| section.split("```toml\n").nth(1));
    let block = block.and_then(|block| block.split("```").next());
    block.with_context(|| format!("no configuration below {heading:?}"))
}

/// Where the page has its services.
#[must_use]
pub const fn service(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100)), port)
}

/// Gives the director and the backends the addresses that they have on the page. The
/// client's way to them is the director.
pub fn add_addresses(lab: &Lab) -> Result<()> {
    for (host, number) in [(&lab.director, 1), (&lab.primary, 11), (&lab.standby, 12)] {
        host.configure(&[format!("address add 10.0.0.{number}/24 dev eth0")])?;
    }
    Ok(())
}
