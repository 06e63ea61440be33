//! `cargo xtask setup`: installs what is missing, and nothing else.
//!
//! Everything is looked for by what is needed of it (a command, a library that
//! the compiler finds), not by how it got there: a machine that was set up in
//! another way is left alone.

use std::{
    env, fs,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::{
    command,
    toolchain::{TARGET, Toolchain},
};

/// What the lab, the tests and the demo call: (command, Debian package).
const LAB_PACKAGES: &[(&str, &str)] = &[
    // Namespaces and links, for a person who looks into the lab.
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    // Checksum offload must be off where traffic starts: native XDP drops the
    // mark that says a checksum is still to be filled in.
    ("ethtool", "ethtool"),
    // Redis and its client, for tests of warm standbys. The package redis-server
    // would start one on this machine.
    ("redis-check-rdb", "redis-tools"),
    // PostgreSQL, for the same.
    ("postgres", POSTGRES),
    // A systemd for a host of the lab, and its bus, for hooks. Neither runs on this
    // machine by that.
    ("busctl", "systemd"),
    ("dbus-daemon", "dbus-daemon"),
    // The linker's bindings to LLVM are compiled from C.
    ("cc", "build-essential"),
];

/// Debian's newest PostgreSQL.
const POSTGRES: &str = "postgresql";

/// What `bench` measures us against: (command, Debian package).
const PEER_PACKAGES: &[(&str, &str)] = &[("haproxy", "haproxy")];

/// Debian's compiler with a `core` for BPF, and the LLVM it was built with:
/// deterministic, and no rustup server has to be reachable. Its security archive
/// has them from Debian 12 on.
const COMPILER_PACKAGES: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf", "llvm-22-dev"];

/// The release that was tested with the compilers above.
const LINKER_VERSION: &str = "0.13.0";

/// How long nightly, about 100 MB, may take to download. Behind a firewall that
/// swallows packets, rustup would otherwise wait far longer.
const NIGHTLY_SECONDS: &str = "300";

pub(crate) fn run() -> Result<ExitCode> {
    // `|`, not `||`: both are to be done.
    if !(ensure()? | components()?) {
        println!("everything is there");
    }
    Ok(ExitCode::SUCCESS)
}

/// What building, testing and the demo need. Says whether anything was missing;
/// silent if not.
pub(crate) fn ensure() -> Result<bool> {
    ensure!(
        has("rustup"),
        "rustup is missing: install it from https://rustup.rs, then run `cargo xtask setup`"
    );
    let mut changed = packages()?;
    let toolchain = if let Some(toolchain) = Toolchain::find() {
        toolchain
    } else {
        changed = true;
        compiler()?
    };
    changed |= linker(toolchain)?;
    Ok(changed)
}

/// The systems that `bench` measures beside ours. It does without those that
/// cannot be had.
pub(crate) fn peers() {
    let missing = missing(PEER_PACKAGES);
    let installed =
        can_install(&missing).and_then(|()| install(&missing, "the benchmark measures it too"));
    if let Err(error) = installed {
        say(&format!("going on without: {error:#}"));
    }
}

/// rustfmt and clippy, which rustup's minimal profile leaves out. Only `ci` needs
/// them, so only `setup` and `ci` ask.
pub(crate) fn components() -> Result<bool> {
    let mut missing = Vec::new();
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !command::succeeds(command::cargo().args([subcommand, "--version"])) {
            missing.push(component);
        }
    }
    if missing.is_empty() {
        return Ok(false);
    }
    say(&format!(
        "adding {}: `cargo xtask ci` checks with them",
        missing.join(" and ")
    ));
    command::run(
        Command::new("rustup")
            .args(["component", "add"])
            .args(missing),
    )?;
    Ok(true)
}

fn packages() -> Result<bool> {
    let lab = missing(LAB_PACKAGES);
    let compiler = if Toolchain::find().is_none() && is_debian() && !debian_core_is_there() {
        COMPILER_PACKAGES
    } else {
        &[]
    };
    // All of them at once: a user without root gets one command to run.
    can_install(&[&lab, compiler].concat())?;
    install(&lab, "the lab and the tests call them")?;
    if let Err(error) = install(compiler, "they compile Rust for BPF") {
        say(&format!("going on without Debian's compiler: {error:#}"));
    }
    Ok(!lab.is_empty() || !compiler.is_empty())
}

/// The packages of commands that are not there.
fn missing(packages: &[(&str, &'static str)]) -> Vec<&'static str> {
    packages
        .iter()
        .filter(|(tool, _)| !has(tool))
        .map(|&(_, package)| package)
        .collect()
}

/// Makes a compiler for BPF known to rustup.
fn compiler() -> Result<Toolchain> {
    let mut rustup = Command::new("rustup");
    if debian_core_is_there() {
        say("linking Debian's compiler as the toolchain `bpf`: aya-build asks rustup for it");
        command::run(rustup.args(["toolchain", "link", Toolchain::Linked.name(), "/usr"]))?;
    } else {
        say("installing Rust nightly with rust-src: it compiles for BPF");
        let nightly = Command::new("timeout")
            .args([
                NIGHTLY_SECONDS,
                "rustup",
                "toolchain",
                "install",
                Toolchain::Nightly.name(),
            ])
            .args(["--component", "rust-src", "--profile", "minimal"])
            .stdout(std::io::stderr())
            .status();
        ensure!(
            nightly.is_ok_and(|status| status.success()),
            "no compiler for {TARGET}: `rustup toolchain install nightly --component rust-src` \
             has to work, or, on Debian 12 and newer, `apt-get install {}`",
            COMPILER_PACKAGES.join(" ")
        );
    }
    Toolchain::find().with_context(|| format!("rustup still has no compiler for {TARGET}"))
}

/// Says whether anything was missing.
fn linker(toolchain: Toolchain) -> Result<bool> {
    let Err(reason) = toolchain.check_linker() else {
        return Ok(false);
    };
    let llvm = toolchain
        .llvm()
        .context("the compiler does not tell its LLVM version")?;
    let prefix = format!("/usr/lib/llvm-{llvm}");
    let llvm_config = Path::new(&prefix).join("bin/llvm-config");
    if !llvm_config.exists() && is_debian() {
        let package = [&*format!("llvm-{llvm}-dev")];
        can_install(&package)?;
        install(&package, "bpf-linker is built against it")?;
    }
    if llvm_config.exists() {
        say(&format!(
            "building bpf-linker {LINKER_VERSION} for LLVM {llvm}: {reason}"
        ));
        command::run(
            command::cargo()
                .args([
                    "install",
                    "bpf-linker",
                    "--version",
                    LINKER_VERSION,
                    "--locked",
                    "--force",
                ])
                .args([
                    "--no-default-features",
                    "--features",
                    &format!("llvm-{llvm}"),
                ])
                // Without it llvm-sys takes the first LLVM it meets.
                .env("LLVM_PREFIX", &prefix),
        )?;
    } else if has("cargo-binstall") {
        say(&format!("installing bpf-linker's own release: {reason}"));
        command::run(Command::new("cargo-binstall").args(["-y", "--force", "bpf-linker"]))?;
    } else {
        bail!(
            "{reason}: run `cargo binstall bpf-linker`, or put the file from \
             https://github.com/aya-rs/bpf-linker/releases into ~/.cargo/bin"
        );
    }
    toolchain
        .check_linker()
        .map_err(|reason| anyhow!("installed bpf-linker, but {reason}"))?;
    Ok(true)
}

/// Fails with the command that somebody else has to run.
fn can_install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    ensure!(
        packages.is_empty() || has("apt-get"),
        "install what Debian calls {names}, then try again"
    );
    ensure!(
        packages.is_empty() || command::is_root(),
        "run `sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends {names}'`, \
         then try again"
    );
    Ok(())
}

fn install(packages: &[&str], why: &str) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    say(&format!("installing {}: {why}", packages.join(", ")));
    if packages.contains(&POSTGRES) {
        no_cluster()?;
    }
    let apt = || {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Keeps what no_cluster has written.
            .env("UCF_FORCE_CONFFOLD", "1")
            .arg("-qq");
        command
    };
    // Its failure alone means nothing: another source's server may be down.
    let _ = command::run(apt().arg("update"));
    // rustc-web conflicts with Debian's own rustc and rustup: never take away
    // what somebody uses.
    command::run(
        apt()
            .args(["install", "-y", "--no-install-recommends", "--no-remove"])
            .args(packages),
    )
}

/// The package would make a cluster and start a server on this machine, unless it reads
/// otherwise before. What somebody has written there about it stays.
fn no_cluster() -> Result<()> {
    let directory = Path::new("/etc/postgresql-common");
    let file = directory.join("createcluster.conf");
    let mut text = fs::read_to_string(&file).unwrap_or_default();
    if text
        .lines()
        .any(|line| line.trim_start().starts_with("create_main_cluster"))
    {
        return Ok(());
    }
    text.push_str("create_main_cluster = false\n");
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&file, text))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Also looks where only root's `PATH` goes, and where no `PATH` does.
fn has(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut system = vec!["/usr/sbin".into(), "/sbin".into()];
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    system.extend(versions.flatten().map(|version| version.path().join("bin")));
    env::join_paths(env::split_paths(&path).chain(system))
        .is_ok_and(|path| which::which_in(tool, Some(path), "/").is_ok())
}

fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|os| os.lines().any(|line| line == "ID=debian"))
}

fn debian_core_is_there() -> bool {
    Path::new("/usr/lib/rustlib")
        .join(TARGET)
        .join("lib")
        .is_dir()
        && Path::new("/usr/bin/rustc").exists()
}

fn say(what: &str) {
    eprintln!("setup: {what}");
}
