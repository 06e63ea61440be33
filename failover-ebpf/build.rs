//! Links again when the linker changes.
//!
//! A linker is no dependency that cargo knows of. Its absence is no error here:
//! the library is also built for the host, which needs none.

fn main() {
    if let Ok(linker) = which::which("bpf-linker") {
        println!("cargo::rerun-if-changed={}", linker.display());
    } else {
        // Without any `rerun-if` line cargo would watch the whole package.
        println!("cargo::rerun-if-changed=build.rs");
    }
}
