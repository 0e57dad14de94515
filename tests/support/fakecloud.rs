//! fakecloud, an independent AWS emulator, as a separate process. It takes long to build, so an existing one is used:
//! on the PATH, or named by `TRAINSPOTTER_FAKECLOUD`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::support::{http, ports};

const VARIABLE: &str = "TRAINSPOTTER_FAKECLOUD";

const INSTALL: &str = "cargo install --locked fakecloud --version 0.51.0";

/// Timeout of its start, in wall time.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program, or `None` with a message on how to get it.
pub fn fakecloud() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("fakecloud")).find(|program| program.is_file())
    };
    let found = named.or_else(on_path).filter(|program| program.is_file());
    if found.is_none() {
        eprintln!("skipped: no fakecloud on the PATH and none that {VARIABLE} names; {INSTALL}");
    }
    found
}

/// A local server that is killed with the test, and its address.
pub async fn start(program: &Path) -> (Child, String) {
    let port = ports::for_program();
    let process = Command::new(program)
        .args(["--addr", &format!("127.0.0.1:{port}"), "--region", "us-east-1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let endpoint = format!("http://127.0.0.1:{port}");
    let starting = async {
        while !http::get(format!("{endpoint}/_fakecloud/health")).await.is_ok_and(|answer| answer.status() == 200) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, starting).await.expect("fakecloud starts");
    (process, endpoint)
}
