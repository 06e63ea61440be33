//! The service addresses on our interfaces. They are marked with a protocol
//! number of our own (`ip address` shows it as `proto 250`), so that the ones we
//! added are told from those that were there before us, by any later agent.

use std::{collections::BTreeSet, net::IpAddr};

use futures_util::TryStreamExt as _;
use netlink_packet_route::link::{LinkAttribute, LinkXdp, XdpAttached};

use super::{Error, Netlink, handle::refused};

impl Netlink {
    /// Puts each of `vips` on the interface of `candidates` that fits, unless
    /// the host has it, and takes away those we once added that are not among them.
    pub async fn own_addresses(
        &self,
        candidates: &[u32],
        vips: &BTreeSet<IpAddr>,
    ) -> Result<(), Error> {
        let present = self.read_addresses().await?;
        for held in present.iter().filter(|held| held.ours) {
            if !vips.contains(&held.address) {
                self.remove_address(held.ifindex, held.address).await?;
            }
        }
        for &vip in vips {
            if present.iter().any(|held| held.address == vip) {
                continue;
            }
            if let Some(ifindex) = self.interface_for(vip, candidates).await? {
                self.add_address(ifindex, vip).await?;
            }
        }
        Ok(())
    }

    /// Takes away every address that we once added; returns them.
    pub async fn disown_addresses(&self) -> Result<Vec<IpAddr>, Error> {
        let mut gone = Vec::new();
        for held in self.read_addresses().await? {
            if held.ours && self.remove_address(held.ifindex, held.address).await? {
                gone.push(held.address);
            }
        }
        Ok(gone)
    }

    /// How XDP is attached to an interface: `native`, `generic`, `offloaded` or `none`.
    pub async fn xdp_mode(&self, ifindex: u32) -> Result<&'static str, Error> {
        let attached = self
            .xdp(ifindex)
            .await?
            .into_iter()
            .find_map(|xdp| match xdp {
                LinkXdp::Attached(attached) => Some(attached),
                _ => None,
            });
        Ok(match attached {
            Some(XdpAttached::Driver) => "native",
            Some(XdpAttached::SocketBuffer) => "generic",
            Some(XdpAttached::Hardware) => "offloaded",
            _ => "none",
        })
    }

    /// Id of the XDP program on an interface.
    pub async fn xdp_program(&self, ifindex: u32) -> Result<Option<u32>, Error> {
        let xdp = self.xdp(ifindex).await?;
        Ok(xdp.into_iter().find_map(|xdp| match xdp {
            LinkXdp::ProgId(id) => Some(id),
            _ => None,
        }))
    }

    /// What the kernel says of XDP on an interface.
    async fn xdp(&self, ifindex: u32) -> Result<Vec<LinkXdp>, Error> {
        let links = self.handle.link().get().match_index(ifindex).execute();
        let links: Vec<_> = links
            .try_collect()
            .await
            .map_err(|error| refused("read an interface", error))?;
        let attributes = links.into_iter().flat_map(|link| link.attributes);
        let xdp = attributes.filter_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => Some(xdp),
            _ => None,
        });
        Ok(xdp.flatten().collect())
    }
}
