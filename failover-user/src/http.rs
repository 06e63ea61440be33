//! One HTTP request, of which only the status counts.

use std::{error::Error, pin::pin};

use hyper::{
    Request, StatusCode,
    body::{Body, Bytes},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Who asks, for the server's access log.
pub(crate) const AGENT: &str = concat!("failover/", env!("CARGO_PKG_VERSION"));

/// Most bytes of an answer's head; hyper's least is 8 KiB. The body is not read.
const HEAD: usize = 16 * 1024;

/// Sends `request` and reads the answer's head. Safe to drop at any `await`: the
/// connection runs here, not in a task of its own, and ends with it.
pub(crate) async fn status<B>(stream: TcpStream, request: Request<B>) -> hyper::Result<StatusCode>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD)
        .handshake(TokioIo::new(stream))
        .await?;
    let mut connection = pin!(connection);
    let mut response = pin!(sender.send_request(request));
    let response = tokio::select! {
        biased;
        response = &mut response => response?,
        // It is over; whatever it came to, the response knows.
        _ = &mut connection => response.await?,
    };
    Ok(response.status())
}
