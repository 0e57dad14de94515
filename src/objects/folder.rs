//! A folder as an object store: for several processes on one machine, and for tests.

use std::io::ErrorKind;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::objects::Created;
use crate::objects::Storage;
use crate::objects::StorageError;

/// Maximum names per list.
const MAX_LISTED: usize = 1_000;

/// A folder as an object store.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

/// Makes temporary file names unique within this process.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

impl Folder {
    /// The object store in a folder, which is created with the first object.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Creates the folder, and writes and removes a file in it.
    pub(super) async fn check(&self) -> Result<(), StorageError> {
        self.blocking(|root| {
            let part = part_in(root);
            std::fs::create_dir_all(root)?;
            std::fs::File::create(&part)?;
            std::fs::remove_file(&part)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let root = self.root.clone();
        let done = crate::blocking::run(move || work(&root).map_err(|error| failed(&root, &error)));
        done.await.map_err(|_| StorageError::silent("the process ends"))?
    }
}

impl Storage for Folder {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let name = name.to_owned();
        self.blocking(move |root| match std::fs::read(root.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    /// Writes a temporary file and links it to its name: readers never see a partial object, and linking to an
    /// existing name fails.
    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StorageError> {
        let name = name.to_owned();
        self.blocking(move |root| {
            let (part, to) = written_beside(root, &name, &bytes)?;
            let linked = std::fs::hard_link(&part, &to);
            let _ = std::fs::remove_file(&part);
            match linked {
                Ok(()) => Ok(Created::Yes),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Created::Exists),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Writes a temporary file and renames it: readers see the previous or the new object, never a partial one.
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        let name = name.to_owned();
        self.blocking(move |root| {
            let (part, to) = written_beside(root, &name, &bytes)?;
            let renamed = std::fs::rename(&part, &to);
            if renamed.is_err() {
                let _ = std::fs::remove_file(&part);
            }
            renamed
        })
        .await
    }

    async fn list(&self, folder: &str, after: &str) -> Result<Vec<String>, StorageError> {
        let (folder, after) = (folder.to_owned(), after.to_owned());
        self.blocking(move |root| {
            let entries = match std::fs::read_dir(root.join(&folder)) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries?,
            };
            let mut names = Vec::new();
            for entry in entries {
                let name = format!("{folder}/{}", entry?.file_name().to_string_lossy());
                if name > after {
                    names.push(name);
                }
            }
            names.sort_unstable();
            names.truncate(MAX_LISTED);
            Ok(names)
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), StorageError> {
        let name = name.to_owned();
        self.blocking(move |root| match std::fs::remove_file(root.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        })
        .await
    }
}

/// Writes a temporary file beside its final path and returns both paths. Cleans up on failure.
fn written_beside(root: &Path, name: &str, bytes: &[u8]) -> std::io::Result<(PathBuf, PathBuf)> {
    let to = root.join(name);
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let part = part_in(root);
    let written = std::fs::File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        let _ = std::fs::remove_file(&part);
        return Err(error);
    }
    Ok((part, to))
}

/// Path of a new temporary file.
fn part_in(root: &Path) -> PathBuf {
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    root.join(format!(".part-{}-{number}", std::process::id()))
}

fn failed(root: &Path, error: &std::io::Error) -> StorageError {
    let problem = format!("cannot use the folder {}: {error}", root.display());
    let lasting = [ErrorKind::PermissionDenied, ErrorKind::NotADirectory, ErrorKind::ReadOnlyFilesystem];
    if lasting.contains(&error.kind()) { StorageError::lasting(problem) } else { StorageError::answered(problem) }
}
