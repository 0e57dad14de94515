//! Takes over the terminal, and restores it in every case.

use std::io::{self, Stdout, Write as _};

use crossterm::style::{Attribute, SetAttribute};
use crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{cursor, execute, queue};

use crate::cli::table::cut;
use crate::cli::top::view::View;

/// The terminal, restored on drop.
pub(super) struct Screen {
    out: Stdout,
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        // From here on `drop` restores it.
        let mut screen = Self { out: io::stdout() };
        execute!(screen.out, EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Draws a view over the previous contents.
    pub(super) fn draw(&mut self, view: &mut View) -> io::Result<()> {
        let (width, height) = terminal::size()?;
        let lines = view.lines(usize::from(height));
        queue!(self.out, terminal::BeginSynchronizedUpdate)?;
        for row in 0..height {
            queue!(self.out, cursor::MoveTo(0, row))?;
            if let Some((line, is_marked)) = lines.get(usize::from(row)) {
                if *is_marked {
                    queue!(self.out, SetAttribute(Attribute::Reverse))?;
                }
                write!(self.out, "{}", cut(line, usize::from(width)))?;
                queue!(self.out, SetAttribute(Attribute::Reset))?;
            }
            queue!(self.out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
        }
        queue!(self.out, terminal::EndSynchronizedUpdate)?;
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to restore.
        let _ = execute!(self.out, cursor::Show, LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}
