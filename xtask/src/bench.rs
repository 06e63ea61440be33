//! `cargo xtask bench`: which benchmark, and how, is for the binary to read.

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Result, ensure};

use crate::{command, lab, setup};

pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    ensure!(
        command::is_root(),
        "benchmarks make network namespaces: run `cargo xtask bench` as root"
    );
    setup::ensure()?;
    if measures_peers(args) {
        setup::peers();
    }
    lab::become_program("bench", args)
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
