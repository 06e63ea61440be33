//! An HTTP request as a hook.

use std::{net::SocketAddr, pin::pin};

use http_body_util::Full;
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Context, HookError};
use crate::config::Method;

/// Who asks, for the server's access log.
const AGENT: &str = concat!("failover/", env!("CARGO_PKG_VERSION"));

/// Sends the context; a status of 2xx is success.
pub(super) async fn send(
    to: SocketAddr,
    path: &str,
    method: Method,
    context: &Context,
) -> Result<String, HookError> {
    let failed = |reason: String| HookError::Http {
        to: to.to_string(),
        reason,
    };
    let body = serde_json::to_vec(context).map_err(|error| failed(error.to_string()))?;
    let method = match method {
        Method::Post => hyper::Method::POST,
        Method::Put => hyper::Method::PUT,
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, to.to_string())
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| failed(error.to_string()))?;
    let stream = TcpStream::connect(to).await;
    let stream = stream.map_err(|error| failed(error.to_string()))?;
    let status = exchange(stream, request).await;
    let status = status.map_err(|error| failed(error.to_string()))?;
    if status.is_success() {
        Ok(status.to_string())
    } else {
        Err(HookError::Status {
            status: format!("status {status}"),
            said: String::new(),
        })
    }
}

async fn exchange(
    stream: TcpStream,
    request: Request<Full<Bytes>>,
) -> hyper::Result<hyper::StatusCode> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = pin!(connection);
    let mut response = pin!(sender.send_request(request));
    // Not in a task of its own: when the hook's time is over, so is the connection.
    let response = tokio::select! {
        biased;
        response = &mut response => response?,
        _ = &mut connection => response.await?,
    };
    Ok(response.status())
}
