//! The server that runs on the lab's hosts. It says `ready` once it listens, and
//! puts its host's name into every answer.

mod lines;

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
use lab::closing::PRIORITY;
use lab::machine::prefer_this_thread;
use lab::server::{Protocol, READY};
use nix::sys::socket::{setsockopt, sockopt};
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
    /// Answers HTTP there as well: the part of an application that health checks
    /// ask.
    #[arg(long)]
    http: Option<SocketAddr>,
    protocol: Protocol,
    port: u16,
}

/// Serves one socket until that fails.
type Job = Box<dyn FnOnce() -> Result<Infallible> + Send>;

fn main() -> Result<()> {
    let Arguments {
        name,
        bind_address,
        http,
        protocol,
        port,
    } = Arguments::parse();
    let name: Arc<str> = name.into();
    // It stands for another machine, which this one's load does not slow down.
    prefer_this_thread();
    let addresses = bind_address
        .into_iter()
        .map(|address| SocketAddr::new(address, port));
    let wanted = addresses
        .map(|address| (protocol, address))
        .chain(http.map(|address| (Protocol::Http, address)));
    // All sockets are bound before any serves: `ready` means every address.
    let jobs = wanted
        .map(|(protocol, address)| {
            bind(protocol, address, Arc::clone(&name))
                .with_context(|| format!("cannot listen at {address}"))
        })
        .collect::<Result<Vec<_>>>()?;
    println!("{READY}");
    io::stdout().flush()?;
    serve_all(jobs)
}

fn bind(protocol: Protocol, address: SocketAddr, name: Arc<str>) -> Result<Job> {
    Ok(match protocol {
        Protocol::Udp => {
            let socket = UdpSocket::bind(address)?;
            setsockopt(&socket, sockopt::Priority, &PRIORITY)?;
            Box::new(move || echo_datagrams(&socket, &name))
        }
        Protocol::Tcp => {
            let listener = TcpListener::bind(address)?;
            setsockopt(&listener, sockopt::Priority, &PRIORITY)?;
            Box::new(move || lines::serve(listener, &name))
        }
        Protocol::Http => {
            let listener = TcpListener::bind(address)?;
            Box::new(move || accept_all(listener, |stream| answer_http(stream, &name)))
        }
        Protocol::Sink => {
            let listener = TcpListener::bind(address)?;
            Box::new(move || accept_all(listener, discard))
        }
    })
}

/// One thread for each socket, this one for the first; ends when one of them fails.
/// The fewer threads, the faster the process dies.
fn serve_all(jobs: Vec<Job>) -> Result<()> {
    let mut jobs = jobs.into_iter();
    let first = jobs.next().context("nothing to serve")?;
    for job in jobs {
        thread::spawn(|| {
            let Err(error) = job();
            eprintln!("error: {error:#}");
            std::process::exit(1)
        });
    }
    first().map(|never| match never {})
}

fn echo_datagrams(socket: &UdpSocket, name: &str) -> Result<Infallible> {
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

async fn discard(mut stream: TcpStream) {
    // A client that is gone has nothing more to say.
    let _ended = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
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
