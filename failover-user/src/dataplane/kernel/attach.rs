//! A program on an interface, by a link that is pinned.

use std::path::Path;

use aya::programs::{
    Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};
use log::{info, warn};

use super::{KernelError, chain, pins::remove};
use crate::config;

/// Attaches `program` to an interface, or replaces the program in the link that is pinned
/// at `pin`. Returns the link, and whether there was one.
pub(super) fn attach(
    program: &mut Xdp,
    interface: &str,
    ifindex: u32,
    mode: config::XdpMode,
    pin: &Path,
) -> Result<(PinnedLink, bool), KernelError> {
    if let Ok(pinned) = PinnedLink::from_pin(pin) {
        match replace(program, pinned, pin) {
            Ok(link) => return Ok((link, true)),
            Err(reason) => {
                warn!("{interface}: the last link is of no use ({reason}): attaching anew");
                remove(pin)?;
            }
        }
    }
    let link = attach_new(program, interface, ifindex, mode)?;
    let link = link.pin(pin).map_err(|error| KernelError::Attach {
        interface: interface.to_owned(),
        reason: chain(&error),
    })?;
    Ok((link, false))
}

fn replace(program: &mut Xdp, pinned: PinnedLink, pin: &Path) -> Result<PinnedLink, String> {
    let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| chain(&error))?;
    let id = program
        .attach_to_link(link)
        .map_err(|error| chain(&error))?;
    // The pin keeps the link; ours must not detach it when it is dropped.
    drop(program.take_link(id));
    PinnedLink::from_pin(pin).map_err(|error| chain(&error))
}

fn attach_new(
    program: &mut Xdp,
    interface: &str,
    ifindex: u32,
    mode: config::XdpMode,
) -> Result<FdLink, KernelError> {
    let attempts: &[(XdpMode, &str)] = match mode {
        config::XdpMode::Auto => &[(XdpMode::Driver, "native"), (XdpMode::Skb, "generic")],
        config::XdpMode::Native => &[(XdpMode::Driver, "native")],
        config::XdpMode::Generic => &[(XdpMode::Skb, "generic")],
    };
    let refused = |reason: String| KernelError::Attach {
        interface: interface.to_owned(),
        reason,
    };
    let mut reasons = Vec::new();
    for (mode, name) in attempts {
        match program.attach_to_if_index(ifindex, *mode) {
            Ok(id) => {
                let link = program.take_link(id).map_err(|e| refused(chain(&e)))?;
                info!("{interface}: attached in {name} mode");
                if *name == "generic" {
                    warn!(
                        "{interface}: generic mode is slower; the driver has no native XDP here ({})",
                        reasons.join(", ")
                    );
                }
                return FdLink::try_from(link).map_err(|_| {
                    refused(
                        "the kernel has no BPF links for XDP: Linux 5.9 or newer is needed"
                            .to_owned(),
                    )
                });
            }
            Err(error) => {
                let reason = chain(&error);
                if reason.contains("os error 16") {
                    return Err(refused(format!(
                        "it has an XDP program already: remove it (ip link set dev {interface} xdp off) or name another pin_path's owner"
                    )));
                }
                reasons.push(format!("{name}: {reason}"));
            }
        }
    }
    Err(refused(reasons.join("; ")))
}
