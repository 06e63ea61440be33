//! Memory that is taken, touched and given back, again and again, in a process of
//! its own: should the machine run out of it after all, that is the one to go.

use std::convert::Infallible;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::process::Process;

/// The subcommand that is this process.
pub(crate) const MEMORY_PRESSURE: &str = "memory-pressure";

/// Bytes that are taken at once.
const PIECE: usize = 16 * 1024 * 1024;

/// Bytes of the smallest page.
const PAGE: usize = 4096;

/// Until the next round if there is too little memory for one.
const PAUSE: Duration = Duration::from_millis(100);

/// The process, seen from outside. Killed when dropped.
pub(super) struct Memory {
    process: Process,
    touched: Arc<AtomicU64>,
}

impl Memory {
    pub(super) fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(MEMORY_PRESSURE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Process::spawn(command).context("cannot press for memory")?;
        let stdout = process.child().stdout.take().context("no output")?;
        let touched = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&touched);
        thread::spawn(move || {
            for _line in BufReader::new(stdout).lines().map_while(Result::ok) {
                count.fetch_add(PIECE as u64, Ordering::Relaxed);
            }
        });
        Ok(Self { process, touched })
    }

    pub(super) fn check(&mut self) -> Result<()> {
        let ended = self.process.ended()?;
        ensure!(ended.is_none(), "the process that takes memory has ended");
        Ok(())
    }

    /// What it has touched so far.
    pub(super) fn bytes(&self) -> u64 {
        self.touched.load(Ordering::Relaxed)
    }
}

/// Presses until it is killed: a quarter of the machine's memory, but never more than
/// half of what is free. A line for each piece that was touched.
pub(crate) fn memory_pressure() -> Result<Infallible> {
    // The first one that the kernel would choose.
    fs::write("/proc/self/oom_score_adj", "1000").context("cannot offer itself")?;
    let mut said = io::stdout().lock();
    loop {
        let wanted = room(&fs::read_to_string("/proc/meminfo")?).context("no /proc/meminfo")?;
        let mut pieces = Vec::new();
        for _ in 0..wanted / PIECE {
            let mut piece = vec![0_u8; PIECE];
            for page in piece.chunks_mut(PAGE) {
                page[0] = 1;
            }
            pieces.push(std::hint::black_box(piece));
            writeln!(said)?;
        }
        if pieces.is_empty() {
            thread::sleep(PAUSE);
        }
    }
}

/// How many bytes may be taken.
fn room(meminfo: &str) -> Option<usize> {
    let bytes = |key: &str| -> Option<usize> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        let kilobytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some((bytes("MemTotal:")? / 4).min(bytes("MemAvailable:")? / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_half_of_what_is_free() {
        for (total, free, expected) in [(800, 700, 200), (800, 300, 150), (800, 0, 0)] {
            let meminfo =
                format!("MemTotal:       {total} kB\nMemFree:  1 kB\nMemAvailable:   {free} kB\n");
            assert_eq!(room(&meminfo), Some(expected * 1024), "{meminfo}");
        }
        assert_eq!(room("MemTotal: 5 kB\n"), None);
    }
}
