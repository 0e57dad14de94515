//! Parses key presses from the bytes of a terminal in raw mode.

use std::io::Read as _;

use tokio::sync::mpsc;

/// Maximum queued keys.
const MAX_WAITING: usize = 64;

/// Maximum bytes per read: those of one key arrive together.
const MAX_READ: usize = 256;

/// A key press.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Letter(char),
    Enter,
    Erase,
    Escape,
    Tab,
    BackTab,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    /// Ctrl-C or Ctrl-D.
    Interrupt,
}

/// Key presses, read on a separate thread since reads block. The thread ends with the process.
pub(super) fn keys() -> mpsc::Receiver<Key> {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    std::thread::spawn(move || {
        let (mut stdin, mut bytes) = (std::io::stdin(), [0; MAX_READ]);
        while let Ok(read @ 1..) = stdin.read(&mut bytes) {
            for key in parse(bytes.get(..read).unwrap_or_default()) {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// Parses bytes to keys. Unknown sequences are ignored.
fn parse(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        let (key, after) = match (first, rest) {
            (0x1b, [b'[' | b'O', sequence @ ..]) => {
                let end =
                    sequence.iter().position(|byte| (0x40..=0x7e).contains(byte)).map_or(sequence.len(), |at| at + 1);
                let (sequence, after) = sequence.split_at(end);
                (of_sequence(sequence), after)
            }
            (0x1b, rest) => (Some(Key::Escape), rest),
            (b'\r' | b'\n', rest) => (Some(Key::Enter), rest),
            (0x7f | 0x08, rest) => (Some(Key::Erase), rest),
            (b'\t', rest) => (Some(Key::Tab), rest),
            (0x03 | 0x04, rest) => (Some(Key::Interrupt), rest),
            (0x00..=0x1f, rest) => (None, rest),
            _ => letter(bytes),
        };
        keys.extend(key);
        bytes = after;
    }
    keys
}

fn of_sequence(sequence: &[u8]) -> Option<Key> {
    match sequence {
        b"A" => Some(Key::Up),
        b"B" => Some(Key::Down),
        b"H" | b"1~" | b"7~" => Some(Key::First),
        b"F" | b"4~" | b"8~" => Some(Key::Last),
        b"5~" => Some(Key::PageUp),
        b"6~" => Some(Key::PageDown),
        b"Z" => Some(Key::BackTab),
        _ => None,
    }
}

/// The first character of UTF-8 text, and the rest.
fn letter(bytes: &[u8]) -> (Option<Key>, &[u8]) {
    let length =
        (1..=bytes.len().min(4)).find(|length| bytes.get(..*length).is_some_and(|text| str::from_utf8(text).is_ok()));
    let (text, after) = bytes.split_at(length.unwrap_or(1));
    (str::from_utf8(text).ok().and_then(|text| text.chars().next()).map(Key::Letter), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_terminal_are_keys() {
        for (bytes, keys) in [
            (&b"jq"[..], &[Key::Letter('j'), Key::Letter('q')][..]),
            (b"\x1b[A\x1b[B\x1bOA", &[Key::Up, Key::Down, Key::Up]),
            (b"\x1b[5~\x1b[6~\x1b[H\x1b[4~\x1b[Z", &[Key::PageUp, Key::PageDown, Key::First, Key::Last, Key::BackTab]),
            (b"\x1b", &[Key::Escape]),
            (b"\r\t\x7f\x08\x03", &[Key::Enter, Key::Tab, Key::Erase, Key::Erase, Key::Interrupt]),
            ("ä日".as_bytes(), &[Key::Letter('ä'), Key::Letter('日')]),
            (b"\x1b[200~x\x01\xff", &[Key::Letter('x')]),
            (b"\x1b[", &[]),
        ] {
            assert_eq!(parse(bytes), keys, "{bytes:?}");
        }
    }
}
