//! The terminal itself: raw mode, the alternate screen, and giving it back whatever happens.
//!
//! What is written goes to the descriptor directly and never through the standard library's locked stream, so that
//! `restore` works from any thread, also while the drawing thread is stuck in a terminal that takes no more bytes.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, ThreadId};
use std::time::Duration;

use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{cursor, queue, style};
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::{TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};

use super::clipboard::{self, Multiplexer};

/// The terminal is ours: whoever turns this off gives it back.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// How long giving back waits for a terminal that takes no bytes; its mode is restored in any case.
const PATIENCE: Duration = Duration::from_millis(200);
/// Turns on reports of the mouse's buttons and wheel, and none of its mere moving.
const MOUSE: &[u8] = b"\x1b[?1000h\x1b[?1006h";
/// The control character that cancels an escape sequence under way.
const CANCEL: u8 = 0x18;

/// The screen while it is ours; dropping it gives the terminal back.
pub struct Screen {
    terminal: ratatui::Terminal<CrosstermBackend<FrameOutput>>,
    area: Rect,
    mouse: bool,
}

impl Screen {
    /// A screen that is not taken yet.
    ///
    /// # Errors
    /// An error if standard output is not a terminal, or its size cannot be read.
    pub fn new() -> io::Result<Self> {
        if !rustix::termios::isatty(stdout()) {
            return Err(io::Error::other("standard output is not one"));
        }
        let area = area()?;
        Ok(Self { terminal: blank(area)?, area, mouse: false })
    }

    /// Takes the terminal, or takes it again after somebody else had it: raw mode, the alternate screen, no cursor,
    /// pasted text marked as such. The next frame paints every cell.
    ///
    /// # Errors
    /// The terminal's error; its modes are restored then.
    pub fn take(&mut self) -> io::Result<()> {
        TAKEN.store(false, Ordering::SeqCst);
        // Whoever had it has set modes of their own, which are those to be given back in the end; the library keeps the
        // first that it has seen until it is told to set them.
        disable_raw_mode()?;
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        // From here on a failure must give back what was taken.
        self.set_up().inspect_err(|_| restore())
    }

    fn set_up(&mut self) -> io::Result<()> {
        let mut output = FrameOutput::default();
        queue!(output, EnterAlternateScreen, cursor::Hide, EnableBracketedPaste)?;
        output.flush()?;
        self.area = area()?;
        self.terminal = blank(self.area)?;
        let mouse = std::mem::take(&mut self.mouse);
        self.listen_to_mouse(mouse)
    }

    /// Turns reports of the mouse on or off; off, the terminal's own selecting works.
    ///
    /// # Errors
    /// The terminal's error.
    pub fn listen_to_mouse(&mut self, on: bool) -> io::Result<()> {
        if self.mouse == on {
            return Ok(());
        }
        self.mouse = on;
        let output = self.terminal.backend_mut();
        if on {
            output.write_all(MOUSE)?;
        } else {
            queue!(output, DisableMouseCapture)?;
        }
        io::Write::flush(output)
    }

    /// Puts text on the clipboard.
    ///
    /// # Errors
    /// The terminal's error.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let output = self.terminal.backend_mut();
        output.write_all(&clipboard::copy(text, Multiplexer::here()))?;
        io::Write::flush(output)
    }

    /// Draws one frame, which the terminal shows at once and whole if it knows synchronized output.
    ///
    /// # Errors
    /// The terminal's error; what it shows is undefined then.
    pub fn draw(&mut self, paint: impl FnOnce(Rect, &mut Buffer)) -> io::Result<()> {
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        let area = area()?;
        if area != self.area {
            self.area = area;
            self.terminal.resize(area)?;
        }
        self.terminal.draw(|frame| paint(frame.area(), frame.buffer_mut()))?;
        queue!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        io::Write::flush(self.terminal.backend_mut())
    }

    /// Makes the next frame paint every cell. `Terminal::clear` would ask the terminal where its cursor is, and the
    /// answer would go to the input thread; a resize to the same size asks nothing.
    ///
    /// # Errors
    /// The terminal's error.
    pub fn repaint(&mut self) -> io::Result<()> {
        self.terminal.resize(self.area)
    }
}

/// What there is to draw on.
fn area() -> io::Result<Rect> {
    let (columns, rows) = crossterm::terminal::size()?;
    let said = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    Ok(Rect::new(0, 0, known(columns, said("COLUMNS"), 80), known(rows, said("LINES"), 24)))
}

/// A length in cells: as the terminal has it, else as the environment says, else the usual one. A serial console, or a
/// pseudo terminal that nobody told its size, has none.
fn known(has: u16, said: Option<u16>, usual: u16) -> u16 {
    [Some(has), said].into_iter().flatten().find(|cells| *cells > 0).unwrap_or(usual)
}

fn blank(area: Rect) -> io::Result<ratatui::Terminal<CrosstermBackend<FrameOutput>>> {
    // Fixed, because the library would ask the terminal for a size again and again, which it may not have.
    let options = TerminalOptions { viewport: Viewport::Fixed(area) };
    ratatui::Terminal::with_options(CrosstermBackend::new(FrameOutput::default()), options)
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// The terminal is ours at this moment.
pub fn is_taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

/// Somebody else has the terminal: it is not to be drawn on, read from or given back until it is taken again.
pub fn lost() {
    TAKEN.store(false, Ordering::SeqCst);
}

/// Gives the terminal back: once, from any thread, and never for longer than a moment; more calls do nothing.
pub fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // The mode first: it needs no room in the terminal's queue.
    let _ = disable_raw_mode();
    // Ends a sequence that was cut off in the middle; by itself it does nothing.
    let mut bytes = vec![CANCEL];
    let _ = queue!(
        bytes,
        EndSynchronizedUpdate,
        style::ResetColor,
        DisableMouseCapture,
        DisableBracketedPaste,
        cursor::Show,
        LeaveAlternateScreen
    );
    // A terminal that takes no bytes blocks this write behind that of the drawing thread, so nobody waits for it long.
    let (done, wait) = sync_channel(1);
    let write = move || {
        let _ = rustix::io::write(stdout(), &bytes);
        let _ = done.send(());
    };
    let started = thread::Builder::new().name("restore".to_owned()).spawn(write).is_ok();
    if started && wait.recv_timeout(PATIENCE).is_err() {
        // It must not wake up one day in a screen that nobody draws: what it has not taken by now is dropped, so that
        // there is room for what gives it back.
        drop_unread();
        let _ = wait.recv_timeout(PATIENCE);
    }
}

/// Writes this on the terminal as it was, after it was given back.
pub fn leave_behind(bytes: &[u8]) {
    let mut left = bytes;
    while !left.is_empty() {
        match rustix::io::write(stdout(), left) {
            Ok(written) => left = &left[written..],
            Err(rustix::io::Errno::INTR) => {}
            // Nobody is there to read it.
            Err(_) => return,
        }
    }
}

/// Drops what was written and not yet taken by the terminal.
fn drop_unread() {
    let _ = tcflush(stdout(), QueueSelector::OFlush);
    // Whoever waits for room hears of it only when something else happens, such as the modes being set, to the same.
    if let Ok(modes) = tcgetattr(stdout()) {
        let _ = tcsetattr(stdout(), OptionalActions::Now, &modes);
    }
}

/// Tells panics apart by thread, from now on; to be called on the thread that will run the screen.
///
/// A panic there gives the terminal back and is then reported as usual. A panic anywhere else while the screen is up
/// leaves the screen alone: its text goes to `report`, to be shown in the log.
pub fn install_panic_hook(report: impl Fn(String) + Send + Sync + 'static) {
    let owner = thread::current().id();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if is_elsewhere(owner) && TAKEN.load(Ordering::SeqCst) {
            report(sentence(info));
        } else {
            restore();
            usual(info);
        }
    }));
}

fn is_elsewhere(owner: ThreadId) -> bool {
    thread::current().id() != owner
}

fn sentence(info: &PanicHookInfo<'_>) -> String {
    let thread = thread::current().name().unwrap_or("without a name").to_owned();
    let place = info.location().map_or(String::new(), |l| format!(" at {}:{}", l.file(), l.line()));
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let reason = text.unwrap_or("for a reason it did not put in words");
    format!("thread {thread} panicked{place}: {reason}")
}

/// The terminal's descriptor for reading keys: standard input, or the controlling terminal if that is redirected.
///
/// # Errors
/// The system's error if there is no controlling terminal, or no free descriptor.
pub fn keyboard() -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    if rustix::termios::isatty(&stdin) {
        // Not for the nodes that are started meanwhile: one of them that lives on would hold the terminal.
        return stdin.as_fd().try_clone_to_owned();
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::open("/dev/tty", flags, Mode::empty())?)
}

/// Waits for what is asked, or for the end of the terminal, and says what came; nothing is read.
pub fn waits(fd: BorrowedFd<'_>, wanted: PollFlags, at_most: Duration) -> PollFlags {
    let mut fds = [PollFd::new(&fd, wanted)];
    let limit = Timespec::try_from(at_most).ok();
    match poll(&mut fds, limit.as_ref()) {
        Ok(0) | Err(_) => PollFlags::empty(),
        Ok(_) => fds[0].revents(),
    }
}

/// The terminal has gone: nobody will read or type here again.
pub fn is_gone(flags: PollFlags) -> bool {
    flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

fn stdout() -> BorrowedFd<'static> {
    rustix::stdio::stdout()
}

/// Gathers a frame and writes it in one go; silent once the terminal was given back.
#[derive(Default)]
pub struct FrameOutput {
    bytes: Vec<u8>,
}

impl Write for FrameOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut left = self.bytes.as_slice();
        while !left.is_empty() && TAKEN.load(Ordering::SeqCst) {
            match rustix::io::write(stdout(), left) {
                Ok(written) => left = &left[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    self.bytes.clear();
                    return Err(error.into());
                }
            }
        }
        self.bytes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_the_terminal_does_not_have_comes_from_the_environment() {
        assert_eq!(known(132, Some(60), 80), 132);
        assert_eq!(known(0, Some(60), 80), 60);
        assert_eq!((known(0, Some(0), 80), known(0, None, 24)), (80, 24));
    }
}
