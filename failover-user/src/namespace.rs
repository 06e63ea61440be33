//! For tests: code in a network namespace of its own.

use std::{process::Command, thread};

use nix::sched::{CloneFlags, unshare};

/// Runs `body` on a thread with a fresh network namespace, in a runtime of one
/// thread, and passes on its panic. The namespace ends with the thread.
pub(crate) fn run<F: Future<Output = ()>>(body: impl FnOnce() -> F + Send + 'static) {
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(body());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` with these arguments in the namespace of the calling thread.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "ip {arguments}"
    );
}
