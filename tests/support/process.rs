//! The binary as a separate process: starting it, waiting for it, reading its output.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The binary, killed with the test. Exceeding a file size limit is an error for it rather than a fatal signal.
pub fn trainspotter(arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_trainspotter")]);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Waits until a process prints its address.
pub async fn listening(process: Child) -> (Child, String) {
    let (process, address, _) = listening_and_telling(process).await;
    (process, address)
}

/// Waits until a process prints its address, and keeps reading, so that it never blocks on a full pipe.
pub async fn listening_and_telling(mut process: Child) -> (Child, String, UnboundedReceiver<String>) {
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let saying = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(address) = line.strip_prefix("listening on ") {
                return address.to_owned();
            }
        }
        panic!("it ended without saying where it listens");
    };
    let address = tokio::time::timeout(Duration::from_secs(300), saying).await.expect("it says where it listens");
    let (tell, reported) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            // The test may not read the lines.
            let _ = tell.send(line);
        }
    });
    (process, address, reported)
}
