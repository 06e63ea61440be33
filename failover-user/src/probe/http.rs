//! HTTP GET: the status is 2xx or 3xx.

use std::net::SocketAddr;

use http_body_util::Empty;
use hyper::{
    Request,
    body::Bytes,
    header::{CONNECTION, HOST, USER_AGENT},
};

use super::{NoVerdict, Outcome, judge, tcp};
use crate::http::{AGENT, status};

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
    match status(stream, request).await {
        Ok(status) if status.is_success() || status.is_redirection() => Ok(Outcome::Pass),
        Ok(status) => Ok(Outcome::Fail(format!("status {}", status.as_u16()))),
        Err(error) => Ok(Outcome::Fail(error.to_string())),
    }
}
