//! `cargo xtask bench`: which benchmark, and how, is for the binary to read.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};

use crate::{command, setup};

pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    ensure!(
        command::is_root(),
        "benchmarks make network namespaces: run `cargo xtask bench` as root"
    );
    setup::ensure()?;
    if measures_peers(args) {
        setup::peers();
    }
    command::run(command::cargo().args(["build", "--release"]).args([
        "--package",
        "failover-user",
        "--package",
        "failover-tests",
        "--bins",
    ]))?;

    // exec, not spawn, as for the demo: Ctrl-C is the benchmark's own.
    let error = Command::new(command::binary("release", "bench")?)
        .args(args)
        .env("FAILOVER_BIN", command::binary("release", "failover")?)
        .exec();
    Err(error).context("cannot start the benchmark")
}

/// Whether other systems than ours are measured: not if the user has chosen which,
/// and not if this is only a question.
fn measures_peers(args: &[OsString]) -> bool {
    let mut words = args.iter().filter_map(|word| word.to_str());
    let takeover = args.first().is_some_and(|first| first == "takeover");
    let asks = args.iter().any(|word| word == "--help" || word == "-h");
    let chosen = words.clone().any(|word| word.starts_with("--system"));
    let peer = words.any(|word| word.contains("haproxy"));
    takeover && !asks && (peer || !chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_installed_only_where_they_are_measured() {
        for (line, expected) in [
            ("takeover", true),
            ("takeover --runs 3", true),
            ("takeover --system haproxy", true),
            ("takeover --system=failover --system=haproxy", true),
            ("takeover --system failover", false),
            ("takeover --system=failover", false),
            ("takeover --help", false),
            ("accuracy", false),
            ("sender --seconds 3", false),
            ("", false),
        ] {
            let args: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(measures_peers(&args), expected, "{line:?}");
        }
    }
}
