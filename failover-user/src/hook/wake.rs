//! Waking a machine by its network card as a hook.

use std::net::Ipv4Addr;

use tokio::net::UdpSocket;

use super::HookError;

/// Discard, which is what most send to; cards look at no port.
const PORT: u16 = 9;

/// Nobody acknowledges it, and one may be lost.
const COPIES: usize = 3;

/// Sends the magic packet: six octets of ones, then the card's address 16 times (AMD,
/// Magic Packet Technology, 1995). That it was sent is all that success means.
pub(super) async fn send(mac: [u8; 6], broadcast: Ipv4Addr) -> Result<String, HookError> {
    let packet = [vec![0xff; 6], mac.repeat(16)].concat();
    let sent = async {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.set_broadcast(true)?;
        for _ in 0..COPIES {
            socket.send_to(&packet, (broadcast, PORT)).await?;
        }
        Ok(())
    };
    let sent = sent.await;
    sent.map_err(|source| HookError::Send {
        to: broadcast,
        source,
    })?;
    Ok(format!("sent to {broadcast}"))
}
