//! The agent's unix socket: one JSON request a line, one JSON answer a line.
//! What may be said is here; who answers is the agent.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
};

use crate::{controller::status::Status, event::Event};

/// Longest request, bytes; a longer one ends the connection.
const REQUEST_LIMIT: u64 = 64 * 1024;

/// Calls that may wait for the agent. Full: the client waits.
pub const CALLS: usize = 64;

/// What a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The state of everything.
    Status,
    /// What has happened; with `follow`, also what happens from now on.
    Events {
        /// Keep the connection.
        follow: bool,
    },
    /// Move a service.
    Switch {
        /// The service.
        service: String,
        /// To this backend; none: the best eligible one that does not serve.
        to: Option<String>,
    },
    /// Drain or disable a backend.
    Maintain {
        /// The backend.
        backend: String,
        /// Disable it, and do not only drain it.
        disable: bool,
        /// Why.
        reason: Option<String>,
        /// For how long, milliseconds; none: until it is enabled.
        for_ms: Option<u64>,
    },
    /// Enable a backend again.
    Enable {
        /// The backend.
        backend: String,
        /// Why.
        reason: Option<String>,
    },
    /// A person has looked: a service goes on.
    Go {
        /// The service.
        service: String,
        /// This backend is promoted, and no other one.
        promoted: Option<String>,
    },
}

/// What the agent answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Events`]: one answer an event.
    Event(Event),
    /// The end of the past events, if the client does not follow.
    End,
    /// To [`Request::Switch`].
    Switched {
        /// Who served.
        from: String,
        /// Who serves.
        to: String,
    },
    /// To [`Request::Maintain`], [`Request::Enable`] and [`Request::Go`].
    Done,
    /// The request was refused.
    Refused {
        /// Why, and what to do.
        error: String,
    },
}

/// A request on its way to the agent.
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Where the answers go: the last one closes it.
    pub answers: mpsc::Sender<Answer>,
}

/// The socket could not be made, or a client could not reach the agent.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The socket cannot be made.
    #[error("{path}: cannot serve the API")]
    Serve {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another agent listens there.
    #[error("{0}: an agent is running already with this socket: stop it first")]
    InUse(PathBuf),
    /// No such group.
    #[error("no group `{0}` on this host: create it or change agent.api_group")]
    NoGroup(String),
    /// The agent cannot be reached.
    #[error("{path}: no agent answers: is `failover run` running, and is this its socket?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The agent said something else than an answer.
    #[error("{path}: the agent's answer makes no sense: {reason}")]
    Answer {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Makes the socket, for root and the members of `group` only. The file of an
/// agent that is gone is replaced.
///
/// # Errors
///
/// The path cannot be used, an agent listens there, or there is no such group.
pub fn bind(path: &Path, group: Option<&str>) -> Result<UnixListener, ApiError> {
    let failed = |source| ApiError::Serve {
        path: path.to_owned(),
        source,
    };
    let gid = match group {
        None => None,
        Some(name) => match nix::unistd::Group::from_name(name) {
            Ok(Some(group)) => Some(group.gid.as_raw()),
            _ => return Err(ApiError::NoGroup(name.to_owned())),
        },
    };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(ApiError::InUse(path.to_owned()));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    // Nobody may connect between bind and chmod.
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    let listener = listener.map_err(failed)?;
    if let Some(gid) = gid {
        chown(path, None, Some(gid)).map_err(failed)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed)?;
    }
    Ok(listener)
}

/// Serves clients until `stop`. Owns the listener; cancelling it closes every
/// connection.
pub async fn serve(
    listener: UnixListener,
    calls: mpsc::Sender<Call>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut clients = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => return,
            Some(_) = clients.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { clients.spawn(client(stream, calls.clone())); }
                Err(error) => {
                    log::warn!("the API cannot accept a client: {error}");
                    // Out of file descriptors: waiting is all there is.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn client(stream: UnixStream, calls: mpsc::Sender<Call>) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read.take(REQUEST_LIMIT)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        lines.get_mut().get_mut().set_limit(REQUEST_LIMIT);
        let (answers, mut received) = mpsc::channel(CALLS);
        match serde_json::from_str(&line) {
            Ok(request) => {
                if calls.send(Call { request, answers }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let error = format!("not a request: {error}");
                let _ = answers.try_send(Answer::Refused { error });
                drop(answers);
            }
        }
        while let Some(answer) = received.recv().await {
            let Ok(mut text) = serde_json::to_vec(&answer) else {
                return;
            };
            text.push(b'\n');
            if write.write_all(&text).await.is_err() {
                return;
            }
        }
    }
}

/// A connection to an agent.
pub struct Client {
    path: PathBuf,
    read: tokio::io::Lines<BufReader<tokio::net::unix::OwnedReadHalf>>,
    write: tokio::net::unix::OwnedWriteHalf,
}

impl Client {
    /// Connects to the agent at `path`.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub async fn connect(path: &Path) -> Result<Self, ApiError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| ApiError::Connect {
                path: path.to_owned(),
                source,
            })?;
        let (read, write) = stream.into_split();
        Ok(Self {
            path: path.to_owned(),
            read: BufReader::new(read).lines(),
            write,
        })
    }

    /// Sends a request; [`Self::next`] gives the answers.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub async fn send(&mut self, request: &Request) -> Result<(), ApiError> {
        let mut text = serde_json::to_vec(request).map_err(|error| self.nonsense(&error))?;
        text.push(b'\n');
        let sent = self.write.write_all(&text).await;
        sent.map_err(|source| ApiError::Connect {
            path: self.path.clone(),
            source,
        })
    }

    /// The next answer.
    ///
    /// # Errors
    ///
    /// The connection is gone or the answer is none.
    pub async fn next(&mut self) -> Result<Answer, ApiError> {
        let line = self
            .read
            .next_line()
            .await
            .map_err(|error| self.nonsense(&error))?;
        let line = line.ok_or_else(|| self.nonsense(&"the agent has ended"))?;
        serde_json::from_str(&line).map_err(|error| self.nonsense(&error))
    }

    fn nonsense(&self, reason: &dyn std::fmt::Display) -> ApiError {
        ApiError::Answer {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }
}
