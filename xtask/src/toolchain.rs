//! Finds the compiler and the linker for BPF.
//!
//! failover-user/build.rs includes this file as well, so that setup and build
//! agree on what is usable. Hence nothing but `std` in here.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What the eBPF program is compiled for.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// A rustup toolchain that can compile for [`TARGET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// Debian's compiler with a ready-made `core`, linked under the name `bpf`.
    Linked,
    /// Nightly with `rust-src`, which builds `core` itself.
    Nightly,
}

impl Toolchain {
    /// The first usable one; `Linked` first, since somebody chose it.
    pub(crate) fn find() -> Option<Self> {
        [Self::Linked, Self::Nightly]
            .into_iter()
            .find(|toolchain| toolchain.is_usable())
    }

    /// Its name for rustup.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Linked => "bpf",
            Self::Nightly => "nightly",
        }
    }

    /// Checks that the linker is there, is 0.10 or newer, and reads the bitcode
    /// that this compiler writes: LLVM reads its own and older bitcode only. The
    /// error is one clause.
    pub(crate) fn check_linker(self) -> Result<(), String> {
        let linker = find_linker().ok_or("bpf-linker is missing")?;
        let linker = linker.display();
        let version = stdout(Command::new(linker.to_string()).arg("--version"))
            .ok_or_else(|| format!("{linker} does not start"))?;
        if minor_version(&version).is_none_or(|version| version < (0, 10)) {
            return Err(format!("{linker} is older than 0.10"));
        }
        let compiler = self
            .llvm()
            .ok_or("the compiler does not tell its LLVM version")?;
        // No answer means that LLVM is linked in; those builds are made for
        // current compilers.
        let own = stdout(Command::new("ldd").arg(linker.to_string()));
        match own
            .as_deref()
            .and_then(|libraries| number_after(libraries, "libLLVM"))
        {
            Some(own) if own < compiler => {
                Err(format!("{linker} has LLVM {own}, the compiler {compiler}"))
            }
            _ => Ok(()),
        }
    }

    /// The major version of the compiler's LLVM.
    pub(crate) fn llvm(self) -> Option<u32> {
        number_after(&stdout(self.rustc().arg("-vV"))?, "LLVM version:")
    }

    fn is_usable(self) -> bool {
        let Some(sysroot) = stdout(self.rustc().args(["--print", "sysroot"])) else {
            return false;
        };
        let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
        match self {
            // The directory outlives the package when a file of another owner
            // is left in it, so look for the library.
            Self::Linked => fs::read_dir(libraries.join(TARGET).join("lib"))
                .is_ok_and(|mut files| files.next().is_some()),
            Self::Nightly => libraries.join("src/rust/library/core").is_dir(),
        }
    }

    fn rustc(self) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", self.name(), "rustc"]);
        command
    }
}

/// `CARGO_HOME/bin` first, as in the `PATH` that `rustup run` sets.
fn find_linker() -> Option<PathBuf> {
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    cargo_home
        .map(|home| home.join("bin"))
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|directory| directory.join("bpf-linker"))
        .find(|file| file.is_file())
}

/// What a command prints, if it succeeds.
fn stdout(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `bpf-linker 0.13.0` is (0, 13).
fn minor_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version
        .split_whitespace()
        .nth(1)?
        .split('.')
        .map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The first number after `mark`: 22 in `libLLVM.so.22.1` and in `libLLVM-22.so`.
fn number_after(text: &str, mark: &str) -> Option<u32> {
    let (_, rest) = text.split_once(mark)?;
    let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}
