//! The open state file: locks out other services, and detects when its path no longer leads to it.
//!
//! The lock is on the opened file and not on its name, so that a link, a second mount or a removed lock file does
//! not allow a second service.

use std::cell::Cell;
use std::fs::File;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use crate::store::StoreError;

/// Attempts to open a file that is being replaced at the same time.
const ATTEMPTS: u32 = 10;

/// Magic bytes of SQLite files.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Bytes of the header that contain the file's size.
const HEADER_BYTES: usize = 100;

/// Location of a store.
#[derive(Clone, Debug)]
pub(super) struct FileLocation {
    pub(super) path: PathBuf,
    /// Whether a service uses it, which must be the only one.
    pub(super) exclusive: bool,
}

/// An open file. Close it after the connection: SQLite loses its locks when any handle of the file is closed.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    identity: Identity,
    /// Size at the last check.
    bytes: Cell<u64>,
    /// Identity of SQLite's write-ahead log at the last check, if there was one.
    log: Cell<Option<Identity>>,
    lock: Option<File>,
}

/// Identity of a file, independent of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl StateFile {
    /// Locks a file for a service, creating it if needed. The lock ends with the process.
    pub(super) fn claim(path: &Path) -> Result<Self, StoreError> {
        for _ in 0..ATTEMPTS {
            let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
            let file = opened.map_err(|error| unusable("open", &error))?;
            if !lock::take(&file)? {
                return Err(StoreError::InUse);
            }
            let identity = Identity::from(&file.metadata().map_err(|error| unusable("inspect", &error))?);
            // Another service may have moved the file aside before this one had the lock.
            if Identity::at(path).is_ok_and(|found| found == identity) {
                return Ok(Self {
                    path: path.to_owned(),
                    identity,
                    bytes: Cell::new(0),
                    log: Cell::new(None),
                    lock: Some(file),
                });
            }
        }
        Err(StoreError::Replaced("it keeps being replaced".to_owned()))
    }

    /// Records the identity of an open file without a lock, for tools beside a service.
    pub(super) fn seen(path: &Path) -> Result<Self, StoreError> {
        let identity = Identity::at(path).map_err(|error| unusable("inspect", &error))?;
        Ok(Self { path: path.to_owned(), identity, bytes: Cell::new(0), log: Cell::new(None), lock: None })
    }

    /// Why writes to the open file would be lost; `None` while its path leads to it and nobody else has written to
    /// it.
    pub(super) fn lost(&self) -> Option<StoreError> {
        match std::fs::metadata(&self.path) {
            Ok(found) if Identity::from(&found) == self.identity => {
                self.overwritten(found.len()).or_else(|| self.lost_its_log())
            }
            Ok(_) => Some(StoreError::Replaced("it was replaced by another file while the service ran".to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Some(StoreError::Replaced("it was deleted while the service ran".to_owned()))
            }
            Err(error) => Some(unusable("inspect", &error)),
        }
    }
}

impl StateFile {
    /// Detects that another process truncated or overwrote the file, which SQLite does not notice while it has the
    /// pages in memory.
    fn overwritten(&self, bytes: u64) -> Option<StoreError> {
        let before = self.bytes.replace(bytes);
        // Closing a separate handle would release SQLite's locks.
        let file = self.lock.as_ref()?;
        let mut header = [0; HEADER_BYTES];
        let is_whole = file.read_exact_at(&mut header, 0).is_ok();
        if is_whole && !header.starts_with(MAGIC) {
            return Some(StoreError::Overwritten("it was overwritten while the service ran".to_owned()));
        }
        // A vacuumed file is smaller too, but its header says so.
        let is_cut = bytes < before && (!is_whole || bytes < bytes_by(&header));
        is_cut.then(|| StoreError::Overwritten("it was truncated while the service ran".to_owned()))
    }
}

impl StateFile {
    /// Detects that the write-ahead log was deleted or replaced: SQLite would keep writing to the deleted one, and a
    /// killed service would lose what is only there. Only a service keeps it open all the time.
    fn lost_its_log(&self) -> Option<StoreError> {
        self.lock.as_ref()?;
        let mut path = self.path.as_os_str().to_owned();
        path.push("-wal");
        let found = Identity::at(Path::new(&path)).ok();
        let before = self.log.replace(found);
        (before.is_some() && before != found).then(|| {
            StoreError::Replaced("its write-ahead log was deleted or replaced while the service ran".to_owned())
        })
    }
}

/// The file's size by its header.
fn bytes_by(header: &[u8; HEADER_BYTES]) -> u64 {
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        other => u64::from(other),
    };
    page_size * u64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]]))
}

/// Refuses a file that never was a state file, and must not be moved aside as a broken one: its beginning is
/// neither SQLite's, with a few broken bytes at most, nor zeros as after a power loss.
pub(super) fn refuse_foreign(path: &Path) -> Result<(), StoreError> {
    let mut beginning = Vec::new();
    let length = u64::try_from(MAGIC.len()).unwrap_or(u64::MAX);
    if File::open(path).and_then(|file| file.take(length).read_to_end(&mut beginning)).is_err() {
        // Opening the file reports the error.
        return Ok(());
    }
    let like_sqlite = beginning.iter().zip(MAGIC).filter(|(found, wanted)| found == wanted).count();
    let zeros = beginning.iter().filter(|byte| **byte == 0).count();
    if 4 * like_sqlite.max(zeros) < 3 * beginning.len() {
        return Err(StoreError::Foreign);
    }
    Ok(())
}

impl Identity {
    fn at(path: &Path) -> std::io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

fn unusable(how: &str, error: &std::io::Error) -> StoreError {
    StoreError::Unwritable(format!("cannot {how} it: {error}"))
}

#[cfg(target_os = "linux")]
mod lock {
    use std::fs::File;

    use nix::errno::Errno;
    use nix::fcntl::FcntlArg;
    use nix::fcntl::fcntl;
    use nix::libc;

    use crate::store::StoreError;

    /// A byte far beyond those that SQLite locks. Locking the whole file would conflict with SQLite's locks on
    /// network file systems.
    const LOCKED_BYTE: i64 = 1 << 46;

    /// Tries to lock. Returns whether it succeeded.
    pub(super) fn take(file: &File) -> Result<bool, StoreError> {
        let kind = |number: i32| i16::try_from(number).unwrap_or_default();
        let lock = libc::flock {
            l_type: kind(libc::F_WRLCK),
            l_whence: kind(libc::SEEK_SET),
            l_start: LOCKED_BYTE,
            l_len: 1,
            l_pid: 0,
        };
        match fcntl(file, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(error) => Err(StoreError::Unwritable(format!("cannot lock it: {error}"))),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod lock {
    use std::fs::File;
    use std::fs::TryLockError;

    use crate::store::StoreError;

    /// Tries to lock. Returns whether it succeeded.
    pub(super) fn take(file: &File) -> Result<bool, StoreError> {
        match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(StoreError::Unwritable(format!("cannot lock it: {error}"))),
        }
    }
}
