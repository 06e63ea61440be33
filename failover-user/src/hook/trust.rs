//! Whether a program may be run as root: whoever may change it would be root.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;
use thiserror::Error;

/// Why a program is not run.
#[derive(Debug, Error)]
pub(super) enum Distrust {
    #[error("{path}: {source}")]
    Unknown { path: PathBuf, source: io::Error },
    #[error("{0}: it is no file that can be executed: chmod +x it")]
    NotExecutable(PathBuf),
    #[error("{path}: it belongs to user {owner}, who could change what root runs: chown root it")]
    Owner { path: PathBuf, owner: u32 },
    #[error("{0}: others than its owner may write it: chmod go-w it")]
    Writable(PathBuf),
}

/// Refuses a program that somebody else than root and the agent's own user may
/// change: the file, or a directory on the way to it.
pub(super) fn check(program: &Path) -> Result<(), Distrust> {
    let unknown = |path: &Path, source| Distrust::Unknown {
        path: path.to_owned(),
        source,
    };
    let real = fs::canonicalize(program).map_err(|error| unknown(program, error))?;
    let file = fs::metadata(&real).map_err(|error| unknown(&real, error))?;
    if !file.is_file() || file.mode() & 0o111 == 0 {
        return Err(Distrust::NotExecutable(real));
    }
    // The way as it is written too: a link on it could be led elsewhere.
    for path in real.ancestors().chain(program.ancestors().skip(1)) {
        let metadata = fs::metadata(path).map_err(|error| unknown(path, error))?;
        let owner = metadata.uid();
        if owner != 0 && owner != geteuid().as_raw() {
            let path = path.to_owned();
            return Err(Distrust::Owner { path, owner });
        }
        // In a sticky directory, such as /tmp, nobody can replace what is another's.
        let sticky = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
        if metadata.mode() & 0o022 != 0 && !sticky {
            return Err(Distrust::Writable(path.to_owned()));
        }
    }
    Ok(())
}
