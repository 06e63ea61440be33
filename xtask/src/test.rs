//! `cargo xtask test`: every test, and one line that sums them up.

use std::{
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{command, setup};

/// What the test harnesses said, summed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Total {
    passed: u64,
    failed: u64,
}

pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    ensure!(
        command::is_root(),
        "tests make network namespaces: run `cargo xtask test` as root"
    );
    setup::ensure()?;

    // The namespace tests start the agent. The same selection of packages as
    // below, so that the dependencies are not built twice with other features.
    command::run(
        command::cargo()
            .args(["build", "--bin", "failover"])
            .args(HOST),
    )?;

    let mut total = Total::default();
    for selection in [HOST, EBPF] {
        let mut test = command::cargo();
        test.args(["test", "--no-fail-fast"])
            .args(selection)
            .arg("--")
            .args(args)
            .env("FAILOVER_BIN", command::binary("debug", "failover")?);
        total.run(&mut test)?;
    }

    if total == Total::default() {
        eprintln!("error: no test ran");
    }
    // The last line, and the only one that scripts need to read.
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(if total.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Everything that is built for the host.
const HOST: &[&str] = &["--workspace", "--exclude", "failover-ebpf"];

/// The pure modules of the eBPF program. Its binaries have no `main` and link
/// only for BPF.
const EBPF: &[&str] = &["--package", "failover-ebpf", "--lib"];

impl Total {
    /// Runs one `cargo test`, passes its output on line by line and adds it up.
    fn run(&mut self, test: &mut Command) -> Result<()> {
        let mut child = test
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command::line(test)))?;
        let failed_before = self.failed;

        let mut output = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut line = Vec::new();
        // Bytes, not `lines()`: a test may print what is not UTF-8.
        while output.read_until(b'\n', &mut line)? != 0 {
            io::stdout().write_all(&line)?;
            self.add(&String::from_utf8_lossy(&line));
            line.clear();
        }

        let status = child.wait()?;
        if !status.success() && self.failed == failed_before {
            // It did not compile, or a test binary died before its summary. The
            // last line must not say that nothing failed.
            eprintln!(
                "error: `{}` failed without a result ({status})",
                command::line(test)
            );
            self.failed += 1;
        }
        Ok(())
    }

    /// Adds `test result: ok. 3 passed; 0 failed; 1 ignored; ..`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let Some((_verdict, counts)) = result.split_once(". ") else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((n, "passed")) => self.passed += n.parse().unwrap_or(0),
                Some((n, "failed")) => self.failed += n.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    /// No test at all is a failure too: a mistyped filter must not look green.
    fn is_success(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

#[cfg(test)]
mod tests;
