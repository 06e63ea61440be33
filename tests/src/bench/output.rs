//! Where the result goes, and what is said until there is one.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Serialize;

/// Where the rows go.
#[derive(Args)]
pub(crate) struct Rows {
    /// Write the rows as a JSON array; `-` is standard output, and the table then
    /// goes to standard error.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Where the picture of the rows goes.
#[derive(Args)]
pub(crate) struct Picture {
    /// Draw what was measured.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Rows {
    /// Prints the rows for people, and writes them as JSON if that is wanted.
    pub(crate) fn show<T: Serialize>(
        &self,
        rows: &[T],
        print: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        match self.json.as_deref() {
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
}

impl Picture {
    /// Has `draw` write the file, if that is wanted.
    pub(crate) fn show(&self, draw: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        match &self.svg {
            None => Ok(()),
            Some(path) => draw(path).with_context(|| format!("cannot draw {}", path.display())),
        }
    }
}

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

fn write<T: Serialize>(to: &mut impl Write, rows: &[T]) -> Result<()> {
    serde_json::to_writer_pretty(&mut *to, rows)?;
    writeln!(to)?;
    Ok(())
}
