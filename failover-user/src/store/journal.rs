//! Past events on disk, one JSON object a line, the newest last. Bounded: the file
//! is rewritten with the newest half when it has grown.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use crate::event::{Event, REMEMBERED};

/// The file of past events. Losing the newest lines in a crash of the host is no
/// harm, so nothing waits for the disk.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Lines in the file, if it is known.
    lines: usize,
}

impl Journal {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, lines: 0 }
    }

    /// What it holds, the newest [`REMEMBERED`] at most. Lines that are none, such as
    /// the last one before a crash, are left out.
    pub fn read(&mut self) -> Vec<Event> {
        let text = fs::read(&self.path).unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n').rev();
        let events = lines.filter_map(|line| serde_json::from_slice(line).ok());
        let mut events: Vec<Event> = events.take(REMEMBERED).collect();
        events.reverse();
        // Begins on a line of its own, whatever the last one is like.
        self.lines = 2 * REMEMBERED;
        events
    }

    /// Adds an event; `all` gives those that are remembered, it included.
    ///
    /// # Errors
    ///
    /// The disk does not take it.
    pub fn add(&mut self, event: &Event, all: impl FnOnce() -> Vec<Event>) -> io::Result<()> {
        if self.lines < 2 * REMEMBERED {
            let mut file = File::options().append(true).open(&self.path)?;
            file.write_all(&line(event)?)?;
            self.lines += 1;
            return Ok(());
        }
        let (mut text, mut lines) = (Vec::new(), 0);
        for event in &all() {
            text.extend(line(event)?);
            lines += 1;
        }
        let new = self.path.with_extension("new");
        let mut options = File::options();
        let options = options.create(true).write(true).truncate(true).mode(0o600);
        options.open(&new)?.write_all(&text)?;
        fs::rename(&new, &self.path)?;
        self.lines = lines;
        Ok(())
    }
}

fn line(event: &Event) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line)
}
