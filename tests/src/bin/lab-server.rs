//! The server that runs on the lab's hosts. It says `ready` once it listens, and
//! puts its host's name into every answer.

use std::convert::Infallible;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use clap::Parser;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lab::machine::prefer_this_thread;
use lab::server::{Protocol, READY};

#[derive(Parser)]
struct Arguments {
    /// The name to answer with.
    #[arg(long)]
    name: String,
    /// An address to listen at; may be repeated. The answer to a datagram comes
    /// from the address that was asked only if that one is named here.
    #[arg(long, required = true)]
    bind_address: Vec<IpAddr>,
    protocol: Protocol,
    port: u16,
}

fn main() -> Result<()> {
    let Arguments {
        name,
        bind_address,
        protocol,
        port,
    } = Arguments::parse();
    let name: Arc<str> = name.into();
    // It stands for another machine, which this one's load does not slow down.
    prefer_this_thread();
    let addresses = bind_address
        .into_iter()
        .map(|address| SocketAddr::new(address, port));
    // All sockets are bound before any serves: `ready` means every address.
    match protocol {
        Protocol::Udp => {
            let sockets = bind_all(addresses, UdpSocket::bind)?;
            serve_all(sockets, &name, |socket, name| echo_datagrams(&socket, name))
        }
        Protocol::Tcp => {
            let listeners = bind_all(addresses, TcpListener::bind)?;
            serve_all(listeners, &name, |listener, name| {
                echo_lines(&listener, name)
            })
        }
        Protocol::Http => {
            let listeners = bind_all(addresses, TcpListener::bind)?;
            serve_all(listeners, &name, serve_http)
        }
    }
}

fn bind_all<T>(
    addresses: impl Iterator<Item = SocketAddr>,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<Vec<T>> {
    addresses
        .map(|address| bind(address).with_context(|| format!("cannot listen at {address}")))
        .collect()
}

/// One thread for each socket; ends when the first of them fails.
fn serve_all<T: Send + 'static>(
    sockets: Vec<T>,
    name: &Arc<str>,
    serve: impl Fn(T, &Arc<str>) -> Result<Infallible> + Copy + Send + 'static,
) -> Result<()> {
    let (failed, failures) = std::sync::mpsc::channel();
    for socket in sockets {
        let (name, failed) = (Arc::clone(name), failed.clone());
        thread::spawn(move || failed.send(serve(socket, &name)));
    }
    println!("{READY}");
    io::stdout().flush()?;
    failures.recv()?.map(|never| match never {})
}

fn echo_datagrams(socket: &UdpSocket, name: &Arc<str>) -> Result<Infallible> {
    let mut buffer = vec![0; 65_536];
    let mut answer = Vec::new();
    loop {
        let (length, client) = socket.recv_from(&mut buffer)?;
        answer.clear();
        answer.extend_from_slice(name.as_bytes());
        answer.push(b' ');
        answer.extend_from_slice(&buffer[..length]);
        // A client that cannot be reached any more is its own loss.
        let _sent = socket.send_to(&answer, client);
    }
}

fn echo_lines(listener: &TcpListener, name: &Arc<str>) -> Result<Infallible> {
    loop {
        let (stream, _) = listener.accept()?;
        let name = Arc::clone(name);
        thread::spawn(move || echo_connection(&stream, &name));
    }
}

fn echo_connection(mut stream: &TcpStream, name: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    for line in BufReader::new(stream).lines() {
        stream.write_all(format!("{name} {}\n", line?).as_bytes())?;
    }
    Ok(())
}

fn serve_http(listener: TcpListener, name: &Arc<str>) -> Result<Infallible> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let body = Bytes::copy_from_slice(name.as_bytes());
            let respond = service_fn(move |_request| {
                let response = Response::new(Full::new(body.clone()));
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), respond));
        }
    })
}
