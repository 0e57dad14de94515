//! A Python with the peers of `tests/peers/requirements.txt`.
//!
//! The first test that needs it creates a virtual environment in `target/peers`, under a lock, since each test may be
//! a separate process. `TRAINSPOTTER_PYTHON` names another one. If neither is available, for example without network,
//! tests are skipped with a message; with `TRAINSPOTTER_PEERS` set, they fail instead.

use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds after which pip gives up on an index, a few times.
const PIP_TIMEOUT: &str = "15";
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/requirements.txt");
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers");

/// The interpreter, or `None` with a message that the test is skipped.
pub async fn python() -> Option<PathBuf> {
    match tokio::task::spawn_blocking(find).await.unwrap() {
        Ok(python) => Some(python),
        Err(why) => {
            assert!(std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "Python's peers are required: {why}");
            eprintln!("skipped: {why}");
            None
        }
    }
}

fn find() -> Result<PathBuf, String> {
    if let Some(python) = std::env::var_os("TRAINSPOTTER_PYTHON").map(PathBuf::from) {
        run(&python, ["-c", "import boto3, moto"])?;
        return Ok(python);
    }
    let venv = Path::new(PEERS).join("venv");
    let python = venv.join("bin/python3");
    // Written last: an incomplete installation does not count.
    let installed = venv.join("requirements.txt");
    let wanted = fs::read_to_string(REQUIREMENTS).map_err(|error| format!("{REQUIREMENTS}: {error}"))?;
    let is_ready = || python.exists() && fs::read_to_string(&installed).is_ok_and(|text| text == wanted);
    if is_ready() {
        return Ok(python);
    }
    fs::create_dir_all(PEERS).map_err(|error| format!("{PEERS}: {error}"))?;
    let lock = File::create(Path::new(PEERS).join("lock")).map_err(|error| format!("{PEERS}: {error}"))?;
    lock.lock().map_err(|error| format!("{PEERS}: {error}"))?;
    if !is_ready() {
        eprintln!("installing {REQUIREMENTS} once");
        run("python3", [OsStr::new("-m"), OsStr::new("venv"), venv.as_os_str()])?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2"];
        run(&python, pip.into_iter().chain(["--timeout", PIP_TIMEOUT, "-r", REQUIREMENTS]))?;
        fs::write(&installed, wanted).map_err(|error| format!("{}: {error}", installed.display()))?;
    }
    Ok(python)
}

fn run(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<(), String> {
    let name = program.as_ref().to_string_lossy().into_owned();
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{name}: {error}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().last().unwrap_or_default();
    output.status.success().then_some(()).ok_or_else(|| format!("{name}: {last}"))
}
