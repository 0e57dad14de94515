//! One service per state file: two would count and tell everything twice.

use std::fs::File;
use std::fs::TryLockError;
use std::path::Path;
use std::path::PathBuf;

use crate::store::StoreError;

/// The right to run a service on a state file. It ends with the process, however that dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the right, beside the file, because SQLite locks the file itself; `None` while another process has it.
    pub(super) fn take(state: &Path) -> Result<Option<Self>, StoreError> {
        let path = beside(state);
        let failed = |error: std::io::Error| {
            StoreError::Unwritable(format!("the lock {} cannot be taken: {error}", path.display())).at(state)
        };
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

fn beside(state: &Path) -> PathBuf {
    let mut path = state.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}
