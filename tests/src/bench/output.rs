//! Where the result goes, and what is said until there is one.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

/// Fails, in one line, for anybody but root.
pub(crate) fn require_root() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "it makes network namespaces and loads XDP programs: it needs root (sudo -E cargo xtask bench)"
    );
    Ok(())
}

/// Progress. Nothing depends on anybody reading it.
pub(crate) fn say(what: std::fmt::Arguments<'_>) {
    let _gone = writeln!(io::stderr(), "bench: {what}");
}

/// Prints the rows for people, and writes them as a JSON array to `json` if that is
/// wanted; `-` is standard output, and people then read standard error.
pub(crate) fn show<T: Serialize>(
    rows: &[T],
    json: Option<&Path>,
    print: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    match json {
        None => print(&mut io::stdout()),
        Some(path) if path == Path::new("-") => {
            print(&mut io::stderr())?;
            write(&mut io::stdout().lock(), rows)
        }
        Some(path) => {
            print(&mut io::stdout())?;
            let file =
                File::create(path).with_context(|| format!("cannot write {}", path.display()));
            write(&mut file?, rows)
        }
    }
}

fn write<T: Serialize>(to: &mut impl Write, rows: &[T]) -> Result<()> {
    serde_json::to_writer_pretty(&mut *to, rows)?;
    writeln!(to)?;
    Ok(())
}
