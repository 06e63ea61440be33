//! Requests from a host, one at a time.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::host::Host;

/// Sends one datagram; the answer, or None if none came in time.
#[must_use]
pub fn udp_request(
    from: &Host,
    to: SocketAddr,
    payload: &str,
    timeout: Duration,
) -> Option<String> {
    from.run(|| {
        let socket = UdpSocket::bind(unspecified(to)).ok()?;
        socket.connect(to).ok()?;
        socket.set_read_timeout(Some(timeout)).ok()?;
        socket.send(payload.as_bytes()).ok()?;
        let mut buffer = vec![0; 65_536];
        let length = socket.recv(&mut buffer).ok()?;
        String::from_utf8(buffer[..length].to_vec()).ok()
    })
}

/// Asks for `path` over a connection of its own; the body of a 200.
pub fn http_get(from: &Host, to: SocketAddr, path: &str, timeout: Duration) -> io::Result<String> {
    from.run(|| http_get_here(to, path, timeout))
}

/// [`http_get`] in the namespace of the calling thread.
pub(crate) fn http_get_here(to: SocketAddr, path: &str, timeout: Duration) -> io::Result<String> {
    let deadline = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&to, timeout)?;
    stream.set_nodelay(true)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n"
    )?;
    let mut response = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Zero would mean to wait for ever.
        stream.set_read_timeout(Some(left.max(Duration::from_micros(1))))?;
        match stream.read(&mut buffer)? {
            0 => break,
            length => response.extend_from_slice(&buffer[..length]),
        }
    }
    let response = String::from_utf8(response).map_err(io::Error::other)?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    if head.starts_with("HTTP/1.1 200") {
        Ok(body.to_owned())
    } else {
        Err(io::Error::other(format!("not a 200: {head}")))
    }
}

/// An established connection to a line server.
#[derive(Debug)]
pub struct TcpClient {
    stream: BufReader<TcpStream>,
}

impl TcpClient {
    /// Connects from a host.
    pub fn connect(from: &Host, to: SocketAddr, timeout: Duration) -> io::Result<Self> {
        Ok(Self {
            stream: BufReader::new(connect(from, to, timeout)?),
        })
    }

    /// Sends a line and waits for the line that answers it. A connection that
    /// was closed is `UnexpectedEof`, one that was reset `ConnectionReset`, and
    /// one that hangs `WouldBlock`; the answer that was missed then is what the
    /// next request reads.
    pub fn request(&mut self, line: &str, timeout: Duration) -> io::Result<String> {
        let stream = self.stream.get_mut();
        stream.set_read_timeout(Some(timeout))?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        if self.stream.read_line(&mut answer)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.trim_end().to_owned())
    }
}

/// A connection from a host; small requests are not held back.
pub(crate) fn connect(from: &Host, to: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = from.run(|| TcpStream::connect_timeout(&to, timeout))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// "Any address, any port" of the family of `to`.
pub(crate) fn unspecified(to: SocketAddr) -> SocketAddr {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    any.parse().expect("a constant address parses")
}
