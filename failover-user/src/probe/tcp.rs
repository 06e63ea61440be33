//! TCP connect: the port is open.

use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

use super::{NoVerdict, Outcome, judge};

/// Connects and hangs up.
pub(super) async fn probe(to: SocketAddr) -> Result<Outcome, NoVerdict> {
    match connect(to).await {
        Ok(_stream) => Ok(Outcome::Pass),
        Err(error) => judge(error),
    }
}

/// A connection that closes with RST. An orderly close would leave one side in
/// `TIME_WAIT` for a minute: at ten probes a second, 600 dead sockets a backend.
pub(super) async fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_zero_linger()?;
    socket.connect(to).await
}
