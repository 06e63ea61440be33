//! A program as a hook.

use std::{path::Path, pin::pin, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{Context, HookError, trust};

/// What is kept of the output, bytes of each of the two streams. The rest is read and
/// forgotten, so that the program does not wait.
const OUTPUT: usize = 4096;

/// How long output is read of children that the program left behind.
const REST: Duration = Duration::from_millis(100);

/// Runs the program, and returns what it said; none: not within `limit`, and it was
/// killed with all its process group.
pub(super) async fn run(
    program: &Path,
    arguments: &[String],
    context: &Context,
    limit: Duration,
) -> Option<Result<String, HookError>> {
    if let Err(distrust) = trust::check(program) {
        return Some(Err(distrust.into()));
    }
    let mut child = match command(program, arguments, context).spawn() {
        Ok(child) => child,
        Err(source) => {
            let program = program.display().to_string();
            return Some(Err(HookError::Spawn { program, source }));
        }
    };
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    if let Ok(ended) = timeout(limit, converse(&mut child, context)).await {
        return Some(ended);
    }
    if let Some(group) = group {
        // It may have ended just now.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.wait().await;
    None
}

fn command(program: &Path, arguments: &[String], context: &Context) -> Command {
    let Context {
        hook,
        service,
        backend,
        address,
        from,
        to,
        reason,
        attempt,
        event: _,
    } = context;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("FAILOVER_HOOK", hook)
        .env("FAILOVER_SERVICE", service)
        .env("FAILOVER_FROM", from)
        .env("FAILOVER_TO", to)
        .env("FAILOVER_REASON", reason)
        .env("FAILOVER_ATTEMPT", attempt.to_string())
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(backend) = backend {
        command.env("FAILOVER_BACKEND", backend);
    }
    if let Some(address) = address {
        command.env("FAILOVER_ADDRESS", address.to_string());
    }
    command
}

async fn converse(child: &mut Child, context: &Context) -> Result<String, HookError> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let told = async {
        if let (Some(mut stdin), Ok(text)) = (stdin, serde_json::to_vec(context)) {
            // Not everybody reads it.
            let _ = stdin.write_all(&text).await;
        }
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = {
        let heard = async {
            tokio::join!(told, keep(stdout, &mut out), keep(stderr, &mut err));
        };
        let mut heard = pin!(heard);
        tokio::select! {
            status = child.wait() => {
                // What it left running may hold the pipes for ever.
                tokio::select! { () = &mut heard => {} () = sleep(REST) => {} }
                status
            }
            () = &mut heard => child.wait().await,
        }
    };
    // What goes wrong is said on standard error.
    let said = if err.is_empty() { &out } else { &err };
    let said = String::from_utf8_lossy(said).trim().to_owned();
    match status {
        Ok(status) if status.success() => Ok(said),
        Ok(status) => Err(HookError::Status {
            status: status.to_string(),
            said,
        }),
        Err(error) => Err(HookError::Status {
            status: error.to_string(),
            said,
        }),
    }
}

/// Reads to the end, and keeps the beginning.
async fn keep(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let room = OUTPUT - kept.len();
        kept.extend(&buffer[..read.min(room)]);
    }
}
