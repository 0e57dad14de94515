//! For tests that read the log.

use std::sync::Once;

/// Call this before setting a subscriber for a test. Without any other subscriber, a line of the log that another
/// test reaches first may be switched off for the whole process, at the very moment at which this test wants it.
pub fn keep_lines_enabled() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        // If there is one already, it keeps them enabled.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
    });
}
