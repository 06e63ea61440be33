//! Hooks at work: one run of a hook with all its attempts. Nothing here decides
//! anything; what a hook comes to is for `promotion` to judge.
//!
//! Dropping a run leaves a program that was started alone: half of a promotion is
//! worse than one that nobody waited for.

mod command;
mod http;
mod systemd;
mod trust;
mod wake;

use std::{net::IpAddr, sync::Arc, time::Duration};

use serde::Serialize;
use thiserror::Error;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};

use crate::{
    config::{Action, Hook},
    promotion::Ending,
};

/// Hooks that may run at the same time. Others wait: a director has better things to
/// do than a hundred promotions at once.
pub const AT_ONCE: usize = 16;

/// Reports of hooks that may wait for the agent. Full: the hook waits, nobody else.
pub const REPORTS: usize = 64;

/// Longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_mins(1);

/// What a hook is told: by its environment and on standard input, or as the body of
/// its request.
#[derive(Clone, Debug, Serialize)]
pub struct Context {
    /// Its name, such as `promote`.
    pub hook: &'static str,
    /// The service.
    pub service: String,
    /// The backend it is about; none for `notify`.
    pub backend: Option<String>,
    /// That backend's address.
    pub address: Option<IpAddr>,
    /// Who held the service.
    pub from: String,
    /// Who is to hold it, or does.
    pub to: String,
    /// Why: `died`, `failback`, ...; of `notify`, what happened.
    pub reason: String,
    /// From 1.
    pub attempt: u32,
    /// What happened, for `notify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<serde_json::Value>,
}

/// One attempt has ended.
#[derive(Clone, Debug)]
pub struct Report<I> {
    /// Whose run it is.
    pub id: I,
    /// From 1.
    pub attempt: u32,
    /// How it ended.
    pub ending: Ending,
    /// What went wrong, or what it said.
    pub text: String,
    /// There will be no other one.
    pub last: bool,
}

/// Why an attempt failed.
#[derive(Debug, Error)]
enum HookError {
    #[error("cannot run {program}: {source}")]
    Spawn {
        program: String,
        source: std::io::Error,
    },
    #[error("refused to run {0}")]
    Untrusted(#[from] trust::Distrust),
    #[error("{status}{said}", said = quoted(.said))]
    Status { status: String, said: String },
    #[error("cannot reach {to}: {reason}")]
    Http { to: String, reason: String },
    #[error("cannot reach systemd: {0}: start the D-Bus service (dbus) of this machine")]
    Bus(zbus::Error),
    #[error("systemd refuses: {0}")]
    Refused(String),
    #[error("{unit}: {result}: systemctl status {unit} says why")]
    Job { unit: String, result: String },
    #[error("the connection to systemd ended before the job for {unit} did")]
    NoResult { unit: String },
    #[error("cannot send to {to}: {source}")]
    Send {
        to: std::net::Ipv4Addr,
        source: std::io::Error,
    },
}

/// Runs `hook` until it succeeds or there is nothing left to try, and tells of each
/// attempt.
pub async fn run<I: Clone + Send>(
    id: I,
    hook: Hook,
    mut context: Context,
    room: Arc<Semaphore>,
    reports: mpsc::Sender<Report<I>>,
) {
    // Whoever promotes twice has two primaries.
    let repeatable = context.hook != "promote";
    let mut pause = hook.backoff;
    for attempt in 1..=hook.retries.saturating_add(1) {
        context.attempt = attempt;
        let (ending, text) = {
            // Closed only when the agent ends.
            let Ok(_permit) = room.acquire().await else {
                return;
            };
            try_once(&hook, &context).await
        };
        let again = match ending {
            Ending::Done => false,
            Ending::Failed => attempt <= hook.retries,
            Ending::Unknown => attempt <= hook.retries && repeatable,
        };
        let report = Report {
            id: id.clone(),
            attempt,
            ending,
            text,
            last: !again,
        };
        if reports.send(report).await.is_err() || !again {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_BACKOFF);
    }
}

async fn try_once(hook: &Hook, context: &Context) -> (Ending, String) {
    let ended = match &hook.action {
        Action::Command { program, arguments } => {
            command::run(program, arguments, context, hook.timeout).await
        }
        Action::Http { to, path, method } => {
            let request = http::send(*to, path, *method, context);
            timeout(hook.timeout, request).await.ok()
        }
        Action::Systemd { unit, verb } => {
            let ended = systemd::run(unit, *verb);
            timeout(hook.timeout, ended).await.ok()
        }
        Action::Wake { mac, broadcast } => Some(wake::send(*mac, *broadcast).await),
    };
    match ended {
        Some(Ok(said)) => (Ending::Done, said),
        Some(Err(error)) => (Ending::Failed, error.to_string()),
        None => (
            Ending::Unknown,
            format!("did not end within {:?}", hook.timeout),
        ),
    }
}

fn quoted(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    }
}

#[cfg(test)]
mod tests;
