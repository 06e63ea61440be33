//! The server that runs on the lab's hosts. It says `ready` once it listens, and
//! puts its host's name into every answer.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
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
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

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
                accept_all(listener, |stream| echo_lines(stream, Arc::clone(name)))
            })
        }
        Protocol::Http => {
            let listeners = bind_all(addresses, TcpListener::bind)?;
            serve_all(listeners, &name, |listener, name| {
                accept_all(listener, |stream| answer_http(stream, name))
            })
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
    println!("{READY}");
    io::stdout().flush()?;
    let mut sockets = sockets.into_iter();
    // With one socket the process has one thread: it dies the faster.
    if sockets.len() == 1
        && let Some(socket) = sockets.next()
    {
        return serve(socket, name).map(|never| match never {});
    }
    for socket in sockets {
        let (name, failed) = (Arc::clone(name), failed.clone());
        thread::spawn(move || failed.send(serve(socket, &name)));
    }
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

/// Serves each connection in a task of its own, all in this thread.
fn accept_all<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F) -> Result<Infallible>
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream));
        }
    })
}

async fn echo_lines(mut stream: TcpStream, name: Arc<str>) {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = format!("{name} {line}\n");
        if write.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn answer_http(stream: TcpStream, name: &Arc<str>) -> impl Future<Output = ()> + use<> {
    let body = Bytes::copy_from_slice(name.as_bytes());
    let respond = service_fn(move |_request| {
        let response = Response::new(Full::new(body.clone()));
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), respond);
    async move {
        // A client that hangs up is its own loss.
        let _ended = connection.await;
    }
}
