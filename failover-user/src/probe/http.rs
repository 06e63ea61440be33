//! HTTP GET: the status is 2xx or 3xx.

use std::{net::SocketAddr, pin::pin};

use http_body_util::Empty;
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{CONNECTION, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;

use super::{NoVerdict, Outcome, judge, tcp};

/// Most bytes of an answer's head; hyper's least is 8 KiB. The body is not read.
const HEAD: usize = 16 * 1024;

/// Who asks, for the backend's access log.
const AGENT: &str = concat!("failover/", env!("CARGO_PKG_VERSION"));

/// Asks for `path` and judges the status.
pub(super) async fn probe(to: SocketAddr, path: &str) -> Result<Outcome, NoVerdict> {
    let request = Request::get(path)
        .header(HOST, to.to_string())
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let request = match request {
        Ok(request) => request,
        Err(error) => return Ok(Outcome::Fail(error.to_string())),
    };
    let stream = match tcp::connect(to).await {
        Ok(stream) => stream,
        Err(error) => return judge(error),
    };
    match exchange(stream, request).await {
        Ok(status) if status.is_success() || status.is_redirection() => Ok(Outcome::Pass),
        Ok(status) => Ok(Outcome::Fail(format!("status {}", status.as_u16()))),
        Err(error) => Ok(Outcome::Fail(error.to_string())),
    }
}

/// Sends the request and reads the answer's head.
async fn exchange(
    stream: tokio::net::TcpStream,
    request: Request<Empty<Bytes>>,
) -> hyper::Result<hyper::StatusCode> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD)
        .handshake(TokioIo::new(stream))
        .await?;
    let mut connection = pin!(connection);
    let mut response = pin!(sender.send_request(request));
    // The connection runs here, not in a task of its own: when the probe is
    // dropped at its deadline, so is the socket.
    let response = tokio::select! {
        biased;
        response = &mut response => response?,
        // It is over; whatever it came to, the response knows.
        _ = &mut connection => response.await?,
    };
    Ok(response.status())
}
