//! An HTTP request as a hook.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::{
    Request,
    body::Bytes,
    header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT},
};
use tokio::net::TcpStream;

use super::{Context, HookError};
use crate::{
    config::Method,
    http::{AGENT, status},
};

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
    let status = status(stream, request).await;
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
