//! moto, a fake of AWS's messaging services.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A server that is killed with the test, and its address.
pub async fn moto(python: &Path) -> (Child, String) {
    let mut moto = Command::new(python)
        .arg(script("moto_server"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(moto.stdout.take().unwrap()).lines();
    let endpoint = lines.next_line().await.unwrap().unwrap();
    (moto, endpoint)
}

/// A script of `tests/peers`.
pub fn script(name: &str) -> String {
    format!("{}/tests/peers/{name}.py", env!("CARGO_MANIFEST_DIR"))
}
