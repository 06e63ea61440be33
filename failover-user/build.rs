//! Compiles the eBPF program and hands its directory to whoever embeds it.

use std::{env, process::ExitCode};

#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

use toolchain::{TARGET, Toolchain};

/// Neither a panic nor an `Err` from `main`: cargo frames the one line that says
/// what to do, and a backtrace would bury it.
fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let root = env!("CARGO_MANIFEST_DIR");
    // aya-build watches failover-ebpf. What that shares with this crate decides
    // the layout of its maps.
    println!("cargo::rerun-if-changed={root}/../failover-common");

    let toolchain = Toolchain::find()
        .ok_or_else(|| format!("no compiler for {TARGET}: run `cargo xtask setup`"))?;
    toolchain
        .check_linker()
        .map_err(|reason| format!("{reason}: run `cargo xtask setup`"))?;

    // Progress would arrive as one warning a line. Errors and warnings stay.
    let mut variables = vec![("CARGO_TERM_QUIET", "true")];
    let name = match toolchain {
        Toolchain::Linked => {
            // aya-ebpf uses unstable features, and this compiler calls itself
            // stable. Named, not "1": with the ready-made core there is nothing
            // for build-std to do.
            variables.push(("RUSTC_BOOTSTRAP", "aya_ebpf,failover,decap,harness"));
            aya_build::Toolchain::Custom(toolchain.name())
        }
        Toolchain::Nightly => aya_build::Toolchain::Nightly,
    };
    for (name, value) in variables {
        // SAFETY: nothing else reads the environment meanwhile; this build script
        // has started no thread yet.
        unsafe { env::set_var(name, value) };
    }

    let package = aya_build::Package {
        name: "failover-ebpf",
        root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../failover-ebpf"),
        ..Default::default()
    };
    aya_build::build_ebpf([package], name).map_err(|error| format!("{error:#}"))?;

    // tests/build.rs reads it as DEP_FAILOVER_EBPF_OBJECTS.
    let objects = env::var("OUT_DIR").map_err(|error| format!("OUT_DIR: {error}"))?;
    println!("cargo::metadata=objects={objects}");
    Ok(())
}
