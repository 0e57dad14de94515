//! For tests that read the log.

use std::io::Write;
use std::sync::{Arc, Mutex, Once};

/// Call this before setting a subscriber for a test. Without any other subscriber, a line of the log that another
/// test reaches first may be switched off for the whole process, at the very moment at which this test wants it.
pub fn keep_lines_enabled() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        // If there is one already, it keeps them enabled.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
    });
}

/// The lines that are logged meanwhile by this thread, without times.
pub fn lines(log: impl FnOnce()) -> Vec<String> {
    keep_lines_enabled();
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .without_time()
        .with_target(false)
        .with_ansi(false);
    tracing::subscriber::with_default(subscriber.finish(), log);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
