//! A disk that can be full or read-only.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// A small separate file system, if this user may mount one.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of this size; `None` if that is not allowed.
    pub async fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let size = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status()
            .await;
        mounted.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file until the disk is full, and returns its path.
    pub fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let mut full = std::fs::File::create(&filler).unwrap();
        // Ends with the expected error when the disk is full.
        while std::io::Write::write_all(&mut full, &[0; 65_536]).is_ok() {}
        while std::io::Write::write_all(&mut full, &[0]).is_ok() {}
        filler
    }

    pub async fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().await.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Processes with open files keep them.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
